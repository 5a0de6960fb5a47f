"""Where a run computes: its device, and the processes that share it.

torchrun --nproc_per_node 2 -m mixerlib train cifar10/convmixer_256_8

It starts the processes and gives each its rank in environment variables. Without it there
is one process, and everything here does nothing.
"""

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from mixerlib.checks import shown
from mixerlib.files import one_line


@dataclass(frozen=True)
class Processes:
    """The processes that share a run; this one has the number `rank`, from 0."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints; the others only compute."""
        return self.rank == 0

    def shard(self, length: int) -> slice:
        """This process's shard of a batch of `length` images; shards differ by one at most."""
        return slice(self.rank * length // self.count, (self.rank + 1) * length // self.count)

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of this tensor over all processes, for each of them; its shape is the same."""
        if self.count > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor)
        return tensor

    def barrier(self) -> None:
        """Wait until every process has come here; then what the first one wrote is there."""
        if self.count > 1:
            dist.barrier()

    def broadcast(self, tensors: Iterable[torch.Tensor]) -> None:
        """Copy the first process's values of these tensors to all processes."""
        if self.count > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def average(self, tensors: Iterable[torch.Tensor]) -> None:
        """Set floating-point tensors to their mean over all processes, in each of them."""
        if self.count > 1:
            for tensor in tensors:
                if tensor.is_floating_point():
                    dist.all_reduce(tensor)
                    tensor /= self.count


ALONE = Processes()  # a run in one process


def choose_device(name: str | None = None) -> torch.device:
    """A device by torch's name ("cpu", "cuda", "cuda:1", "mps"); None: the GPU if there is one.

    Raises `ValueError` for a name that torch does not know, or a device that is not here.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        raise ValueError(f"`device`={name!r} must be cpu, cuda, cuda:1, mps or the like") from None
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": torch.mps.device_count()}
    count = counts.get(device.type, 0)
    if (device.index or 0) >= count:
        raise ValueError(
            f"`device`={name!r} is not here: torch {torch.__version__} sees {count} of it"
        )
    return device


def local_device(name: str | None) -> str | None:
    """The device for this process: with torchrun on GPUs, each one has its own."""
    cuda = torch.cuda.is_available() if name is None else name == "cuda"
    return f"cuda:{os.environ['LOCAL_RANK']}" if cuda and "LOCAL_RANK" in os.environ else name


def from_environment(name: str, least: int) -> int:
    """The whole number that an environment variable holds, `least` where it is not set."""
    text = os.environ.get(name, str(least))
    if not text.isdecimal() or len(text) > 9 or int(text) < least:
        rule = f"must be a whole number of at least {least}"
        raise ValueError(f"the environment variable {name}={shown(text)} {rule}")
    return int(text)


def check_address() -> None:
    """Raises `ValueError` for a MASTER_ADDR that leads nowhere: torch would look for it for as long
    as it waits for other processes.
    """
    if (address := os.environ.get("MASTER_ADDR")) is None:  # torch says so at once
        return
    try:
        socket.getaddrinfo(address, None)
    except (OSError, UnicodeError) as error:
        raise ValueError(
            f"the environment variable MASTER_ADDR={shown(address)} must be the name or the "
            f"address of a machine: {one_line(error)}"
        ) from None


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun started, through NCCL on GPUs and gloo otherwise."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield ALONE
        return
    if (rank := from_environment("RANK", 0)) >= (count := from_environment("WORLD_SIZE", 1)):
        raise ValueError(f"the environment variable RANK={rank} must be below WORLD_SIZE={count}")
    from_environment("MASTER_PORT", 0)  # 0: any that is free
    check_address()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
