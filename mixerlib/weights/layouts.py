"""The layouts of the public checkpoints: how each of them names the same tensors."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

Rows = tuple[tuple[str, ...], ...]


# The names of one part of the network, a layout a column; b counts the blocks from 0, d is the
# depth. The tensors themselves are the same everywhere, and so is their order.
# fmt: off
def convmixer_rows(b: int, d: int) -> Rows:
    """ConvMixer: ours and timm's | locuslab | tweet | aliborji, whose code has a ConvMixer too."""
    return (
        ("stem.0",             "0",             "0.0",           "patch_emb.0"),
        ("stem.2",             "2",             "0.2",           "patch_emb.2"),
        (f"blocks.{b}.0.fn.0", f"{b+3}.0.fn.0", f"{b+1}.0.0.0",  f"mixer_blocks.{2*b}.fn.0"),
        (f"blocks.{b}.0.fn.2", f"{b+3}.0.fn.2", f"{b+1}.0.0.2",  f"mixer_blocks.{2*b}.fn.2"),
        (f"blocks.{b}.1",      f"{b+3}.1",      f"{b+1}.1.0",    f"mixer_blocks.{2*b+1}.0"),
        (f"blocks.{b}.3",      f"{b+3}.3",      f"{b+1}.1.2",    f"mixer_blocks.{2*b+1}.2"),
        ("head",               f"{d+5}",        f"{d+3}",        "head"),
    )


def splitmixer_rows(b: int, d: int) -> Rows:
    """SplitMixer: ours | aliborji | the flat nn.Sequential on the same authors' slides."""
    return (
        ("stem.0",                "patch_emb.0",              "0"),
        ("stem.2",                "patch_emb.2",              "2"),
        (f"blocks.{b}.spatial.0", f"mixer_blocks.{2*b}.fn.0", f"{b+3}.0.fn.0"),
        (f"blocks.{b}.spatial.2", f"mixer_blocks.{2*b}.fn.2", f"{b+3}.0.fn.2"),
        (f"blocks.{b}.spatial.3", f"mixer_blocks.{2*b}.fn.3", f"{b+3}.0.fn.3"),
        (f"blocks.{b}.spatial.5", f"mixer_blocks.{2*b}.fn.5", f"{b+3}.0.fn.5"),
        (f"blocks.{b}.mixing",    f"mixer_blocks.{2*b+1}.0",  f"{b+3}.1"),
        (f"blocks.{b}.norm",      f"mixer_blocks.{2*b+1}.2",  f"{b+3}.3"),
        ("head",                  "head",                     f"{d+5}"),
    )
# fmt: on


class Layout(NamedTuple):
    """A way to name the tensors: `column` of `table`, or our own names where there is no table."""

    name: str
    sign: str  # regular expression: a file in which any name begins so has this layout
    table: Callable[[int, int], Rows] | None = None
    column: int = 0

    def parts(self, depth: int) -> dict[str, str]:
        """Our name of every part of a network of `depth` blocks → its name in this layout."""
        rows = (row for b in range(depth) for row in self.table(b, depth)) if self.table else ()
        return {row[0]: row[self.column] for row in rows}


# The first sign found wins. Ours and timm's names are equal for ConvMixer and MLP-Mixer: there the
# metadata of our own safetensors decides, and a file without them counts as timm's.
OURS = Layout("mixerlib", r"blocks\.\d+\.(spatial|mixing)\.")
LAYOUTS = (
    OURS,
    Layout("timm", r"(stem|blocks)\."),
    Layout("aliborji", r"mixer_blocks\.\d+\.0\.mixer", splitmixer_rows, 1),
    Layout("aliborji", r"\d+\.1\.mixer", splitmixer_rows, 2),
    Layout("aliborji", r"(patch_emb|mixer_blocks)\.", convmixer_rows, 3),
    Layout("locuslab", r"\d+\.0\.fn\.", convmixer_rows, 1),
    Layout("tweet", r"\d+\.0\.0\.", convmixer_rows, 2),
)


def recognize(names: Iterable[str]) -> Layout | None:
    """The layout that the tensor names of a checkpoint show, or None."""
    names = list(names)
    signs = (layout for layout in LAYOUTS if any(re.match(layout.sign, name) for name in names))
    return next(signs, None)


def translate(name: str, parts: dict[str, str]) -> str | None:
    """A tensor's name with the part of the network it belongs to renamed; None for no such part."""
    part = name
    while part and part not in parts:
        part = part.rpartition(".")[0]
    return parts[part] + name[len(part) :] if part else None


def our_names(names: Iterable[str], layout: Layout) -> dict[str, str | None]:
    """Each name of a checkpoint in that layout → ours, or None for one that the layout lacks.

    The depth is read off the names too, so the result is right for any model.
    """
    names = list(names)
    if layout.table is None:
        return {name: name for name in names}
    modules = {name.rpartition(".")[0] for name in names}
    depth = 0
    while any(row[layout.column] in modules for row in layout.table(depth, depth)[2:-1]):
        depth += 1
    back = {theirs: ours for ours, theirs in layout.parts(depth).items()}
    return {name: translate(name, back) for name in names}
