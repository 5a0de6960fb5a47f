"""A model with the methods that users of the Hugging Face Hub know. It needs `mixerlib[hub]`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn

from mixerlib.files import read_json, write_atomic
from mixerlib.models import made_of, unwrapped
from mixerlib.weights.pretrained import (
    CONFIG,
    Trained,
    fetched,
    from_pretrained,
    save_pretrained,
)

# What huggingface_hub before 1.0 also hands over; later ones do not have it
OLD_WORDS = ("proxies", "resume_download")


class HubModel(nn.Module, PyTorchModelHubMixin):
    """A model of `create_model` with the methods of the Hub's `PyTorchModelHubMixin`, whose folders
    are those of the functions `save_pretrained` and `from_pretrained`, card and recipe included.

    `save_pretrained(folder)` writes it, and `push_to_hub("OWNER/NAME")` uploads what that writes.
    `HubModel.from_pretrained` reads a folder, or a repository, which it downloads without being
    told to, and is then in evaluation mode. The mixin by itself would build what its class was once
    called with, and load what fits of the file. Here the folder says what the model is now, and
    every tensor must fit, as in `load_weights`. Attribute `model` is the model itself.

    Args:
        model: of `create_model`, with any weights.
        record: of the run that trained it, for the card and for `recipe.yaml`.
        image_size: side in pixels, or (height, width), that it is to be given.
        mean: of each channel, by which images are normalised.
        std: the deviations.
        classes: their names, in the order of the logits.

    Raises `ValueError` for a model that `create_model` has not made; its methods raise as the two
    functions do, and as huggingface_hub does.

    >>> from mixerlib.models import create_model
    >>> from mixerlib.weights import HubModel
    >>> model = HubModel(create_model("splitmixer_iv", dim=64, depth=4, segments=4))
    >>> model.save_pretrained("mine")
    >>> HubModel.from_pretrained("mine").model.strategy
    'IV'
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        record: Trained | None = None,
        image_size: int | tuple[int, int] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        classes: Sequence[str] = (),
    ):
        super().__init__()
        made_of(unwrapped(model))
        self.model = model
        self._told: dict[str, Any] = {"record": record, "image_size": image_size}
        self._told |= {"mean": mean, "std": std, "classes": classes}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, in_channels, H, W) → logits (B, num_classes), by the model."""
        return self.model(images)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """As the mixin's, which removes an old config.json first: a refusal brings it back."""
        config = Path(save_directory) / CONFIG
        before = config.read_bytes() if config.is_file() else None
        try:
            return super().save_pretrained(save_directory, **options)
        except BaseException:
            if before is not None and not config.exists():
                write_atomic(config, before)
            raise

    def _save_pretrained(self, save_directory: Path) -> None:
        save_pretrained(self.model, save_directory, **self._told)

    @classmethod
    def _from_pretrained(  # the Hub's method calls it, with these names
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | os.PathLike[str] | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **model_kwargs: Any,
    ) -> "HubModel":
        folder = Path(model_id)
        if not folder.is_dir():
            folder = fetched(
                model_id,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
            )
        model = from_pretrained(folder)
        config = read_json(folder / CONFIG)
        given, classes = config.get("pretrained_cfg", {}), config.get("label_names", ())
        told = {"image_size": tuple(given.get("input_size", ())[1:]) or None, "classes": classes}
        told |= {word: given.get(word) for word in ("mean", "std")}
        given_here = {k: v for k, v in model_kwargs.items() if k not in OLD_WORDS}
        return cls(model, **(told | given_here)).eval()
