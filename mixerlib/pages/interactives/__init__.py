"""Interactives: pieces of a page that the reader turns, without a kernel and without a network.

How one is made. It has a module here, a script `NAME.js` and, if need be, a sheet `NAME.css`:

>>> from mixerlib.pages.interactives import Interactive, controls, guess, script, slider
>>> drawing = '<svg class="drawing" viewBox="0 0 300 100" role="img" aria-label=""></svg>'
>>> body = guess("How many?", ("1", "2")) + controls(slider("k", "Kernel k", 1, 9, 3)) + drawing
>>> code = "kit.start('thing', {}, root => kit.say(root, 'Nothing yet.'));"  # or part("thing.js")
>>> Interactive("thing", "What it is", body, script(code), still=drawing).name
'thing'

- `Interactive` puts the parts into one root, `<div data-interactive="thing">`, with the kit's sheet
  and script before the thing's own. As the last value of a cell it is HTML, in a page, in Jupyter
  and in Colab alike. `options={"family": …}` become `data-family` of the root.
- `still` is a figure in the page's ink (SVG with `currentColor`): it stands where no script runs,
  and on paper. Where a script runs the `body` takes its place.
- A script calls `mixerKit.start("thing", api, root => …)`. In Node, which has no page, only the
  `api` is kept, as `mixerKit.api.thing`: put every function that computes there, and test it
  against Python. Formulas are written by `formulas_script` from `mixerlib.costs`, never by hand.
- The kit (kit.js says more): `kit.svg` makes elements, `kit.values` reads the controls, `kit.say`
  sets the sentence that says the state, also to a screen reader (at the end, or where the body has
  `SAID`), `kit.guess` asks first and says whether the guess was right, `kit.player` steps, plays
  and goes back (in one go where the reader wants no motion), `kit.on_theme` redraws what cannot use
  `currentColor`, as a canvas.
- What the page cannot compute is made beforehand: `frames.frames` chooses among pieces of HTML by
  its controls, `replay.replay` plays the curves of runs. They stand where a widget stands that
  needs a kernel.
- HTML and script stay under 20 kB each (tests/pages/test_interactives.py holds all this). What
  needs no argument is found and driven by the tests; what needs some is named, with them, in
  tests/every_interactive.py, which also takes pictures and writes a log.
"""

from mixerlib.pages.interactives.base import (
    SAID,
    Interactive,
    buttons,
    choice,
    controls,
    formulas_script,
    guess,
    javascript,
    part,
    script,
    slider,
    tick,
)
from mixerlib.pages.interactives.convention import which_convention
from mixerlib.pages.interactives.explorer import Explorer
from mixerlib.pages.interactives.glass import tweet_under_glass
from mixerlib.pages.interactives.mixer import Guess, block_guess, live_mixer, shuffle_guess
from mixerlib.pages.interactives.network_script import in_six_bits, network_script
from mixerlib.pages.interactives.news import news_travels
from mixerlib.pages.interactives.pictures import live_pictures
from mixerlib.pages.interactives.pixel import where_a_pixel_goes
from mixerlib.pages.interactives.seeds import how_many_seeds
from mixerlib.pages.interactives.workshop import kernel_workshop
from mixerlib.pages.tables import LABELS

__all__ = [
    "LABELS",
    "SAID",
    "Explorer",
    "Guess",
    "Interactive",
    "block_guess",
    "buttons",
    "choice",
    "controls",
    "formulas_script",
    "guess",
    "how_many_seeds",
    "in_six_bits",
    "javascript",
    "kernel_workshop",
    "live_mixer",
    "live_pictures",
    "network_script",
    "news_travels",
    "part",
    "script",
    "shuffle_guess",
    "slider",
    "tick",
    "tweet_under_glass",
    "where_a_pixel_goes",
    "which_convention",
]
