"""Our own safetensors: the same bytes for the same weights, with a digest of all that they say.

safetensors itself has no checksum, and writes metadata in an order that changes from run to run.
"""

import hashlib
import json
from collections.abc import Mapping

import safetensors.torch
import torch

# Each of the two keys says that there is a digest: so one damaged bit cannot hide it.
DIGEST, RULE = "sha256", "sha256_of"
TEXT = "the metadata and each tensor's name, dtype, shape and numbers, in the order of the names"


class Altered(ValueError):
    """The tensors of a file are not those that it was written with."""


def digest_of(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    """The SHA-256 of what a file says, its own digest left out, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    plain = sorted((key, value) for key, value in metadata.items() if key != DIGEST)
    digest.update(json.dumps(plain).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def check_digest(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Raises `Altered` where a file has a digest and says something else. Older files have none."""
    if DIGEST not in metadata and RULE not in metadata:
        return
    if metadata.get(DIGEST) != digest_of(tensors, metadata):
        raise Altered("is damaged or was changed: its digest is that of other weights")


def to_bytes(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """A whole safetensors file with its digest; equal weights and metadata give equal bytes."""
    stated = dict(metadata) | {RULE: TEXT}
    stated[DIGEST] = digest_of(tensors, stated)
    plain = safetensors.torch.save(dict(tensors))  # sorted, but for the metadata
    size = int.from_bytes(plain[:8], "little")
    header = {"__metadata__": stated} | json.loads(plain[8 : 8 + size])
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the numbers lie at a multiple of 8
    return len(text).to_bytes(8, "little") + text + plain[8 + size :]
