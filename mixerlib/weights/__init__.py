"""Weights in and out: the layouts of the public checkpoints are recognised and renamed into ours,
or refused.

A checkpoint is data, never code: safetensors, or a pickle of which only tensors and plain values
are read. `layouts` says whose names are whose; `reading` opens a file; `loading` holds what is in
it against a model; `saving` writes our own.
"""

from mixerlib.weights.loading import load_weights
from mixerlib.weights.saving import save_weights

__all__ = ["load_weights", "save_weights"]
