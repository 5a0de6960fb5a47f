"""The colours of the book, which its figures and its explorer share."""

# A strategy keeps one colour through the whole book (Okabe and Ito's palette); ConvMixer and
# MLP-Mixer are the two neutrals it is compared with: the page's ink, and a grey that reads on both.
INK = "#010203"  # stands for the page's text colour: `show` replaces it
FAINT = "#040506"  # stands for a faint tone of it: grid lines, outlines
GREY = "#808489"
COLORS = {
    "convmixer": INK,
    "mlp_mixer": GREY,
    "splitmixer_i": "#E69F00",
    "splitmixer_ii": "#56B4E9",
    "splitmixer_iii": "#009E73",
    "splitmixer_iv": "#D55E00",
    "splitmixer_v": "#CC79A7",
    "splitmixer_3d": "#3B82D0",
}
# For everything else a figure tells apart: a violet and a brown that no strategy has.
ACCENT = "#7B68C8"
WARM = "#A5613F"
