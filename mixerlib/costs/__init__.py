"""What a mixer costs: closed forms in sympy, the same quantities measured on the running module,
and the conventions in which people quote them. Derived in chapters 04 to 11.

>>> from mixerlib.costs import formulas, macs, measure
>>> from mixerlib.models import create_model, model_entry
>>> forms = formulas("splitmixer_i")  # sympy, split by part
>>> forms.params["channel mixing"]
d*(m**2 + m)
>>> options = model_entry("splitmixer_i_256_8").defaults
>>> macs(forms.counts(options, image_size=32))
65219072
>>> macs(measure(create_model("splitmixer_i_256_8"), image_size=32))  # of the model itself
65219072

**Quantities.** All are for one image, and each is a mapping from part to value. The parts are stem,
spatial mixing (in MLP-Mixer: token mixing), channel mixing, normalisation and head. An activation
function and a residual sum belong to the part before them; every norm, wherever it stands, to
normalisation.

- `params`: trainable parameters, biases included.
- `buffers`: BatchNorm's running means and variances, two numbers a channel. Its counter
  `num_batches_tracked`, one integer a layer, is not counted.
- `macs`: multiply-accumulates of convolutions and matrix products, one for each pair of a weight
  and an output it contributes to. Padded zeros count, as in `FlopCounterMode`. Biases, activation
  functions, norms and the mean do not.
- `normalized`, `pooling`: elements that pass a norm; additions and divisions of the final mean.
- `activations`: elements that autograd keeps for the backward pass, when one image is trained on
  the CPU. Counted are the tensors that operations save, each storage once and in full (a saved
  slice keeps its whole tensor alive); parameters and buffers are left out. The image itself
  and the statistics of the norms are kept too, so they count.
- `moved`: elements of activations read or written by one inference (eval mode, no autograd), run
  operation by operation. Each operation reads its inputs once and writes its result once. Views
  are free; weights, and the statistics of a norm, are left out. A convolution or LayerNorm first
  copies an input that is not contiguous, as PyTorch's kernels do. Counted is one image's share of
  a batch, since alone in it an image makes every slice of channels contiguous.
- `moved_fused`: the same, ideally fused: one kernel for each convolution or matrix product, with
  everything elementwise in it (BatchNorm too, in inference a scale and a shift), one for each
  LayerNorm and one for the mean. A kernel reads each map that it needs once.
- `passes_eager`, `passes_fused`: what one block moves in these two ways, divided by the size of
  its activation map, hT.

The ablations of SplitMixer-I (`MEASURED_ONLY`) have no closed forms; `measure` counts them. The
relatives (`SIZED`), such as ViT, have closed forms of `params` and `macs` alone (`size_formulas`).
To the parts they add *space and channels*, of convolutions that mix both at once; what they have in
place of a norm counts as normalisation.

**Conventions.** `macs`, `flops` (twice that) and `thop` (the convention of SplitMixer's tables) are
functions of one count, and take formulas and measurements alike.
"""

from mixerlib.costs.channel_reach import mixing_steps, reach
from mixerlib.costs.channel_span import blocks_to_span, directions, measured_directions
from mixerlib.costs.closed_forms import Formulas, formulas
from mixerlib.costs.counts import CONVENTIONS, QUANTITIES, Counts, flops, macs, thop
from mixerlib.costs.measured_reach import measured_reach
from mixerlib.costs.measurement import Measured, measure
from mixerlib.costs.places import drawn_anew, mixing_jacobian, reordered, unnoticed
from mixerlib.costs.relatives import SIZED, Size, SizeFormulas, size_formulas
from mixerlib.costs.savings import paper_saving, saving, wide_saving
from mixerlib.costs.scopes import by_scope, saved_by_scope
from mixerlib.costs.symbols import (
    D_C,
    D_S,
    DEFINITIONS,
    SYMBOLS,
    C_in,
    H,
    T,
    W,
    alpha,
    c,
    d,
    definitions,
    e,
    gelu,
    h,
    in_full,
    iverson,
    k,
    latex,
    m,
    n,
    p,
    r,
    s,
    shuffle,
)
from mixerlib.costs.values import FAMILIES, MEASURED_ONLY, OPTIONS, value_of

__all__ = [
    "CONVENTIONS",
    "DEFINITIONS",
    "D_C",
    "D_S",
    "FAMILIES",
    "MEASURED_ONLY",
    "OPTIONS",
    "QUANTITIES",
    "SIZED",
    "SYMBOLS",
    "C_in",
    "Counts",
    "Formulas",
    "H",
    "Measured",
    "Size",
    "SizeFormulas",
    "T",
    "W",
    "alpha",
    "blocks_to_span",
    "by_scope",
    "c",
    "d",
    "definitions",
    "directions",
    "drawn_anew",
    "e",
    "flops",
    "formulas",
    "gelu",
    "h",
    "in_full",
    "iverson",
    "k",
    "latex",
    "m",
    "macs",
    "measure",
    "measured_directions",
    "measured_reach",
    "mixing_jacobian",
    "mixing_steps",
    "n",
    "p",
    "paper_saving",
    "r",
    "reach",
    "reordered",
    "s",
    "saved_by_scope",
    "saving",
    "shuffle",
    "size_formulas",
    "thop",
    "unnoticed",
    "value_of",
    "wide_saving",
]
