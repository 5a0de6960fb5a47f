"""How timm names the tensors of the relatives that it has."""

import torch

Rows = tuple[tuple[str, ...], ...]
State = dict[str, torch.Tensor]

TOKENS = ("cls_token", "dist_token")
BOTH = " and ".join(TOKENS)  # the two that are one tensor of ours


# fmt: off
def transformer_rows(b: int, d: int) -> Rows:
    """ViT: ours | timm. What is equal in both stands here too: a name without a row is unknown."""
    return (
        ("stem.proj",                    "patch_embed.proj"),
        ("stem.tokens",                  "cls_token"),
        ("stem.places",                  "pos_embed"),
        (f"blocks.{b}.norm1",            f"blocks.{b}.norm1"),
        (f"blocks.{b}.attn.qkv",         f"blocks.{b}.attn.qkv"),
        (f"blocks.{b}.attn.proj",        f"blocks.{b}.attn.proj"),
        (f"blocks.{b}.norm2",            f"blocks.{b}.norm2"),
        (f"blocks.{b}.mlp_channels.fc1", f"blocks.{b}.mlp.fc1"),
        (f"blocks.{b}.mlp_channels.fc2", f"blocks.{b}.mlp.fc2"),
        ("norm",                         "norm"),
        ("head",                         "head"),
    )


def distilled_rows(b: int, d: int) -> Rows:
    """DeiT with distillation: ours | timm, its two tokens joined by `joined_tokens`."""
    renamed = {"stem.tokens": BOTH}
    rows = tuple((ours, renamed.get(ours, theirs)) for ours, theirs in transformer_rows(b, d))
    return (*rows, ("head_teacher", "head_dist"))


def resmlp_rows(b: int, d: int) -> Rows:
    """ResMLP: ours | timm."""
    return (
        ("stem.proj",                    "stem.proj"),
        (f"blocks.{b}.norm1",            f"blocks.{b}.norm1"),
        (f"blocks.{b}.linear_tokens",    f"blocks.{b}.linear_tokens"),
        (f"blocks.{b}.scale1.gamma",     f"blocks.{b}.ls1"),
        (f"blocks.{b}.norm2",            f"blocks.{b}.norm2"),
        (f"blocks.{b}.mlp_channels.fc1", f"blocks.{b}.mlp_channels.fc1"),
        (f"blocks.{b}.mlp_channels.fc2", f"blocks.{b}.mlp_channels.fc2"),
        (f"blocks.{b}.scale2.gamma",     f"blocks.{b}.ls2"),
        ("norm",                         "norm"),
        ("head",                         "head"),
    )


def gmlp_rows(b: int, d: int) -> Rows:
    """gMLP: ours | timm."""
    return (
        ("stem.proj",             "stem.proj"),
        (f"blocks.{b}.norm",      f"blocks.{b}.norm"),
        (f"blocks.{b}.fc1",       f"blocks.{b}.mlp_channels.fc1"),
        (f"blocks.{b}.gate.norm", f"blocks.{b}.mlp_channels.gate.norm"),
        (f"blocks.{b}.gate.proj", f"blocks.{b}.mlp_channels.gate.proj"),
        (f"blocks.{b}.fc2",       f"blocks.{b}.mlp_channels.fc2"),
        ("norm",                  "norm"),
        ("head",                  "head"),
    )


def convnext_rows(b: int, d: int) -> Rows:
    """ConvNeXt's blocks at one size: ours | timm's first stage, with its stem and its head."""
    return (
        ("stem.0",                       "stem.0"),
        ("stem.1",                       "stem.1"),
        (f"blocks.{b}.conv_dw",          f"stages.0.blocks.{b}.conv_dw"),
        (f"blocks.{b}.norm",             f"stages.0.blocks.{b}.norm"),
        (f"blocks.{b}.mlp_channels.fc1", f"stages.0.blocks.{b}.mlp.fc1"),
        (f"blocks.{b}.mlp_channels.fc2", f"stages.0.blocks.{b}.mlp.fc2"),
        (f"blocks.{b}.scale",            f"stages.0.blocks.{b}"),
        ("norm",                         "head.norm"),
        ("head",                         "head.fc"),
    )
# fmt: on


def joined_tokens(state: State) -> State:
    """DeiT's two tokens (1, 1, h) as our one tensor (1, 2, h), where both are there."""
    tokens = [state[name] for name in TOKENS if name in state]
    if len(tokens) < 2 or any(token.ndim != 3 for token in tokens):
        return state
    rest = {name: tensor for name, tensor in state.items() if name not in TOKENS}
    return rest | {BOTH: torch.cat(tokens, dim=1)}


def parted_tokens(state: State) -> State:
    """The way back."""
    rest = {name: tensor for name, tensor in state.items() if name != BOTH}
    parts = state[BOTH].split(1, dim=1)
    return rest | {name: part.clone() for name, part in zip(TOKENS, parts, strict=True)}


def flat_scales(state: State) -> State:
    """ResMLP's scales and shifts, (1, 1, h) in timm, as ours, (h)."""
    return {
        name: tensor.flatten() if name.endswith((".alpha", ".beta")) else tensor
        for name, tensor in state.items()
    }


def raised_scales(state: State) -> State:
    """The way back."""
    return {
        name: tensor[None, None] if name.endswith((".alpha", ".beta")) else tensor
        for name, tensor in state.items()
    }
