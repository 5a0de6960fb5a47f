"""What interactives say of the strategies: their names, their colours, and what a block mixes."""

import json

from mixerlib.pages.colors import COLORS, INK
from mixerlib.pages.interactives.base import part
from mixerlib.pages.tables import LABELS


def page_colors() -> dict[str, str]:
    """A family → its colour; ConvMixer is drawn in the page's ink."""
    colors = {family: COLORS[family] for family in LABELS}
    return {f: "currentColor" if color == INK else color for f, color in colors.items()}


def families_script() -> str:
    """JavaScript: `titles`, `colors`, and `segments`, `hands` and `dealt_from` of channels.js."""
    return (
        f"const titles = {json.dumps(LABELS)};\n"
        f"const colors = {json.dumps(page_colors())};\n{part('channels.js')}"
    )
