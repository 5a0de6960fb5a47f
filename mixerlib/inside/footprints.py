"""Which pixels a place of a map hears. Chapter 03."""

import torch
from torch import nn

from mixerlib.checks import shown
from mixerlib.inside.choosing import check_images, check_ready, chosen_layers
from mixerlib.inside.logits import gradients_on, refusals_explained


def footprint(model: nn.Module, images: torch.Tensor, layer: str) -> torch.Tensor:
    """How much each pixel moves the place in the middle of a layer's map: (H, W), averaged over
    the images.

    It is the size of the derivative of that place, its channels weighed at random, summed over the
    image's channels. It is exactly 0 where the place cannot hear a pixel. Chapter 03.

    Args:
        model: any module in evaluation mode; it is left as it was.
        images: normalized, (B, C, H, W), such as `dataset.normalize` gives.
        layer: its name in `model.named_modules()`; its output is (B, h, rows, columns), or tokens
            (B, T, h), which lie as the patches in the image.

    Raises `ValueError` as `feature_maps` does, and for a layer with another output.

    >>> import torch
    >>> from mixerlib.inside import footprint
    >>> from mixerlib.models import create_model
    >>> model = create_model("convmixer", dim=8, depth=2, kernel_size=3, patch_size=2).eval()
    >>> images = torch.randn(4, 3, 16, 16)
    >>> [int((footprint(model, images, f"blocks.{i}") > 0).sum()) for i in (0, 1)]
    [36, 100]
    """
    model = check_ready(model)
    check_images(model, images)
    if not isinstance(layer, str):
        raise ValueError(f"`layer`={shown(layer)} must be the name of a layer")
    (module,) = chosen_layers(model, [layer]).values()
    outputs: list[torch.Tensor] = []

    def keep(_module: nn.Module, _inputs: tuple, output: torch.Tensor) -> None:
        outputs.append(output.clone() if isinstance(output, torch.Tensor) else output)

    hook = module.register_forward_hook(keep)
    try:
        with gradients_on(), refusals_explained(images):
            pixels = images.detach().clone().requires_grad_(True)
            model(pixels)
            if len(outputs) != 1 or getattr(outputs[0], "ndim", 0) not in (3, 4):
                raise ValueError(
                    f"`layer`={layer!r} must run once for a batch and give maps (B, h, H, W) or "
                    "tokens (B, T, h)"
                )
            middle = _middle(outputs[0], images.shape[2] / images.shape[3])
            generator = torch.Generator().manual_seed(0)
            weights = torch.randn(middle.shape, generator=generator, device="cpu")
            (slopes,) = torch.autograd.grad((middle * weights.to(middle)).sum(), pixels)
    finally:
        hook.remove()
    return slopes.abs().sum(dim=1).mean(dim=0)


def _middle(maps: torch.Tensor, aspect: float) -> torch.Tensor:
    """The place in the middle: (B, h)."""
    if maps.ndim == 4:
        return maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]
    tokens = maps.shape[1]
    rows = max(1, round((tokens * aspect) ** 0.5))
    columns = tokens // rows
    return maps[:, rows // 2 * columns + columns // 2]
