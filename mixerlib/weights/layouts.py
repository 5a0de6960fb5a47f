"""The layouts of the public checkpoints: how each of them names the same tensors."""

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch

from mixerlib.weights import relatives
from mixerlib.weights.relatives import Rows, State


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


def strided_rows(b: int, d: int) -> Rows:
    """SplitMixer's 3-D form: ours | aliborji, whose notebook calls it StrideMixer."""
    return (
        ("stem.0",                   "patch_emb.0"),
        ("stem.2",                   "patch_emb.2"),
        (f"blocks.{b}.spatial.0",    f"spatial_mixer.{b}.fn.0"),
        (f"blocks.{b}.spatial.2",    f"spatial_mixer.{b}.fn.2"),
        (f"blocks.{b}.spatial.3",    f"spatial_mixer.{b}.fn.3"),
        (f"blocks.{b}.spatial.5",    f"spatial_mixer.{b}.fn.5"),
        (f"blocks.{b}.mixing.mixer", f"channel_mixer.{b}.0"),
        (f"blocks.{b}.norm",         f"channel_mixer.{b}.3"),
        ("head",                     "head.2"),
    )


def mlp_mixer_rows(b: int, d: int) -> Rows:
    """MLP-Mixer: ours and timm's | its authors' in JAX, with dots for the slashes."""
    return (
        ("stem.proj",                    "stem"),
        ("norm",                         "pre_head_layer_norm"),
        (f"blocks.{b}.norm1",            f"MixerBlock_{b}.LayerNorm_0"),
        (f"blocks.{b}.mlp_tokens.fc1",   f"MixerBlock_{b}.token_mixing.Dense_0"),
        (f"blocks.{b}.mlp_tokens.fc2",   f"MixerBlock_{b}.token_mixing.Dense_1"),
        (f"blocks.{b}.norm2",            f"MixerBlock_{b}.LayerNorm_1"),
        (f"blocks.{b}.mlp_channels.fc1", f"MixerBlock_{b}.channel_mixing.Dense_0"),
        (f"blocks.{b}.mlp_channels.fc2", f"MixerBlock_{b}.channel_mixing.Dense_1"),
        ("head",                         "head"),
    )


def mindspore_rows(b: int, d: int) -> Rows:
    """MLP-Mixer: ours | MindCV as MindSpore saves it | as its code nests it | MindSpore's courses.

    MindCV appends its blocks to a `SequentialCell` that has its name already. MindSpore then takes
    the block's number for that of the first block's norm, and saves the others as if inside of it.
    """
    s, n = f"0.token_mix.{b}" if b else "0", f"mixer_blocks.{b}"
    c = f"backbone.mixer_blocks.layers.{b}"
    t, m = f"{c}.token_mixer", f"{c}.channel_mixer"
    return (
        ("stem.proj", *2 * ("to_patch_embedding.0",), "backbone.patch_embedding.conv"),
        ("norm",      *2 * ("layer_norm",),           "backbone.norm"),
        *(
            (f"blocks.{b}.{ours}", f"{s}.{theirs}", f"{n}.{theirs}", courses)
            for ours, theirs, courses in (
                ("norm1",            "token_mix.0",         f"{t}.norm"),
                ("mlp_tokens.fc1",   "token_mix.2.net.0",   f"{t}.token_mixing_mlp.dense1"),
                ("mlp_tokens.fc2",   "token_mix.2.net.3",   f"{t}.token_mixing_mlp.dense2"),
                ("norm2",            "channel_mix.0",       f"{m}.norm"),
                ("mlp_channels.fc1", "channel_mix.1.net.0", f"{m}.channel_mixing_mlp.dense1"),
                ("mlp_channels.fc2", "channel_mix.1.net.3", f"{m}.channel_mixing_mlp.dense2"),
            )
        ),
        ("head",      *2 * ("mlp_head",),             "head.dense"),
    )
# fmt: on


# What the last word of a name means in our words, in JAX and in a norm of MindSpore
JAX_WORDS = MappingProxyType({"kernel": "weight", "scale": "weight"})
MINDSPORE_WORDS = MappingProxyType(
    {
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
)

NORM = re.compile(r"(^|\.)norm\d?$")  # our LayerNorms; a BatchNorm is known by its statistics


def from_jax(tensor: torch.Tensor) -> torch.Tensor:
    """A kernel of JAX in PyTorch's order: (in, out) → (out, in), (H, W, in, out) → (out, in, H, W).

    Of one dimension there is only one order.
    """
    orders = {2: (1, 0), 4: (3, 2, 0, 1)}
    return tensor.permute(orders[tensor.ndim]) if tensor.ndim in orders else tensor


def from_conv3d(tensor: torch.Tensor) -> torch.Tensor:
    """A Conv3d's kernel over channels, (c, 1, c, 1, 1), as a Conv2d's; others as they are."""
    return tensor.squeeze(1) if tensor.ndim == 5 else tensor


def in_backbone(state: State) -> State:
    """The tensors of a network of MindSpore's courses, `backbone.` before all but the head's: a
    file without a head lacks it, saved so or because all of its names begin with it.
    """
    known = ("backbone.", "head.")
    return {n if n.startswith(known) else f"backbone.{n}": tensor for n, tensor in state.items()}


class Layout(NamedTuple):
    """A way to name the tensors: `column` of `table`, or our own names where there is no table.

    `words` are the last words of its names that are not ours → ours; `to_ours` brings a tensor's
    numbers into our order. `zero` are tensors of ours that it lacks, and which are 0 for it.
    `gathered` makes of a file's tensors, still with its names, as many and as large as ours are;
    `parted` is the way back.
    """

    name: str
    sign: str  # regular expression: a file in which any name begins so has this layout
    table: Callable[[int, int], Rows] | None = None
    column: int = 0
    words: Mapping[str, str] = MappingProxyType({})
    to_ours: Callable[[torch.Tensor], torch.Tensor] | None = None
    gathered: Callable[[State], State] | None = None
    parted: Callable[[State], State] | None = None
    zero: tuple[str, ...] = ()

    def parts(self, depth: int) -> dict[str, str]:
        """Our name of every part of a network of `depth` blocks → its name in this layout."""
        rows = (row for b in range(depth) for row in self.table(b, depth)) if self.table else ()
        return {row[0]: row[self.column] for row in rows}


# The relatives in timm
DEIT = Layout(
    "timm",
    r"(dist_token|head_dist\.)",
    relatives.distilled_rows,
    1,
    gathered=relatives.joined_tokens,
    parted=relatives.parted_tokens,
)
VIT = Layout("timm", r"(cls_token$|pos_embed$|patch_embed\.)", relatives.transformer_rows, 1)
RESMLP = Layout(
    "timm",
    r"blocks\.\d+\.ls[12]$",
    relatives.resmlp_rows,
    1,
    gathered=relatives.flat_scales,
    parted=relatives.raised_scales,
)
GMLP = Layout("timm", r"blocks\.\d+\.mlp_channels\.gate\.", relatives.gmlp_rows, 1)
CONVNEXT = Layout("timm", r"stages\.0\.blocks\.\d+\.conv_dw\.", relatives.convnext_rows, 1)

# The first sign found wins. Ours and timm's names are equal for ConvMixer and MLP-Mixer: there the
# metadata of our own safetensors decides, and a file without them counts as timm's.
OURS = Layout("mixerlib", r"blocks\.\d+\.(spatial|mixing)\.")
TIMM = Layout("timm", r"(stem|blocks)\.")
SPLIT = Layout("aliborji", r"mixer_blocks\.\d+\.0\.mixer", splitmixer_rows, 1)
STRIDED = Layout("aliborji", r"(spatial|channel)_mixer\.", strided_rows, 1, to_ours=from_conv3d)
THEIR_CONVMIXER = Layout("aliborji", r"(patch_emb|mixer_blocks)\.", convmixer_rows, 3)
MINDCV = Layout(  # its names begin with `network.`, as wrappers' do
    "mindcv", r"\d+\.(0\.fn\.2\.)?(gamma|moving_mean)$", convmixer_rows, 1, MINDSPORE_WORDS
)
NO_BIAS = ("stem.proj.bias",)  # its patches are embedded without one
MINDCV_MIXER = Layout(
    "mindcv", r"0\.(token|channel)_mix\.", mindspore_rows, 1, MINDSPORE_WORDS, zero=NO_BIAS
)
MINDCV_NESTED = Layout(
    "mindcv",
    r"mixer_blocks\.\d+\.(token|channel)_mix\.",
    mindspore_rows,
    2,
    MINDSPORE_WORDS,
    zero=NO_BIAS,
)
COURSES = Layout(
    "mindspore",
    r"(backbone\.)?mixer_blocks\.layers\.",
    mindspore_rows,
    3,
    MINDSPORE_WORDS,
    gathered=in_backbone,
)
LOCUSLAB = Layout("locuslab", r"\d+\.0\.fn\.", convmixer_rows, 1)
TWEET = Layout("tweet", r"\d+\.0\.0\.", convmixer_rows, 2)
JAX = Layout("jax", r"MixerBlock_\d+\.", mlp_mixer_rows, 1, JAX_WORDS, from_jax)
FLAT = Layout("aliborji", r"\d+\.1\.mixer", splitmixer_rows, 2)
LAYOUTS = (
    OURS,
    JAX,
    *(DEIT, VIT, RESMLP, GMLP, CONVNEXT),
    TIMM,
    SPLIT,
    FLAT,
    STRIDED,
    MINDCV_MIXER,
    MINDCV_NESTED,  # before the next, whose blocks have the same name
    COURSES,
    THEIR_CONVMIXER,
    MINDCV,
    LOCUSLAB,
    TWEET,
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
    while any(part in modules for part in _of_block(layout, depth)):
        depth += 1
    back = {theirs: ours for ours, theirs in layout.parts(depth).items()}
    return {name: _reworded(translate(name, back), layout.words) for name in names}


def _of_block(layout: Layout, block: int) -> list[str]:
    """What a layout calls the parts of one block."""
    rows = layout.table(block, block) if layout.table else ()
    return [row[layout.column] for row in rows if row[0].startswith(f"blocks.{block}.")]


def their_names(names: Iterable[str], layout: Layout, depth: int) -> dict[str, str | None]:
    """Each of our names → that of the layout in a network of so many blocks, or None for none."""
    names = list(names)
    if layout.table is None:
        return {name: name for name in names}
    parts = layout.parts(depth)
    words = {ours: theirs for theirs, ours in layout.words.items()}
    modules = {name: name.rpartition(".")[0] for name in names}
    counted = {modules[name] for name in names if name.endswith(".running_mean")}
    norms = counted | {module for module in modules.values() if NORM.search(module)}
    return {
        name: _reworded(translate(name, parts), words if modules[name] in norms else {})
        for name in names
    }


def _reworded(name: str | None, words: Mapping[str, str]) -> str | None:
    """The name with its last word replaced, where there is another for it."""
    if name is None:
        return None
    part, _, word = name.rpartition(".")
    return f"{part}.{words[word]}" if word in words else name
