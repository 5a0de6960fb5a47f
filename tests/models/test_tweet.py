"""The tweet: short enough, whole by itself, and tensor for tensor the readable ConvMixer."""

import inspect
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mixerlib.models import create_model, tweet

FILE = Path(tweet.__file__).read_text(encoding="utf-8")
TEXT = FILE[FILE.index("from torch.nn import") :]  # from the import line to the end of the file


def run_tweet() -> dict:
    """What the text alone defines, executed where nothing else is."""
    namespace = {}
    exec(compile(TEXT, "tweet", "exec"), namespace)
    return namespace


def pair(h: int, d: int, k: int, p: int, n: int) -> tuple[nn.Module, nn.Module]:
    """The tweet's model and the readable one, with the readable one's weights put in order."""
    torch.manual_seed(0)
    short = run_tweet()["ConvMixer"](h, d, k, p, n)
    options = {"kernel_size": k, "patch_size": p, "num_classes": n}
    long = create_model("convmixer", dim=h, depth=d, **options)
    with torch.no_grad():
        for norm in (m for m in long.modules() if isinstance(m, nn.BatchNorm2d)):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                tensor.copy_(torch.rand_like(tensor) + 0.5)  # anything but zeros and ones
        for to, value in zip(short.state_dict().values(), long.state_dict().values(), strict=True):
            to.copy_(value)
    return short, long


CONFIGURATIONS = pytest.mark.parametrize(
    "h, d, k, p, n",
    [(16, 3, 5, 2, 10), (8, 1, 9, 1, 2), (6, 2, 1, 3, 4), (8, 2, 2, 2, 3), (12, 3, 6, 4, 5)],
)


def test_it_fits_in_a_tweet():
    assert TEXT.count("from torch.nn import") == 1
    assert len(TEXT) <= 280  # the last line's end counted too
    assert len(TEXT.encode()) == len(TEXT)  # plain ASCII: every character counts once


def test_it_is_all_the_code_that_the_file_has():
    above = FILE[: FILE.index(TEXT)]
    docstring = f'"""{tweet.__doc__}"""'
    assert above.startswith(docstring)
    rest = above.removeprefix(docstring).splitlines()
    assert all(not line.strip() or line.startswith("#") for line in rest)
    assert inspect.getsource(tweet.ConvMixer) in TEXT + "\n"


@CONFIGURATIONS
def test_same_tensors_in_the_same_order(h, d, k, p, n):
    short, long = pair(h, d, k, p, n)
    for kind in ("parameters", "buffers"):
        shapes = [[tuple(t.shape) for t in getattr(m, kind)()] for m in (short, long)]
        assert shapes[0] == shapes[1]
    kinds = [[(t.shape, t.dtype) for t in m.state_dict().values()] for m in (short, long)]
    assert kinds[0] == kinds[1]
    ends = [[key.split(".")[-1] for key in m.state_dict()] for m in (short, long)]
    assert ends[0] == ends[1]  # a weight where a weight is, a running mean where one is


@CONFIGURATIONS
def test_same_outputs_in_eval_mode(h, d, k, p, n):
    short, long = pair(h, d, k, p, n)
    x = torch.randn(3, 3, 4 * p, 5 * p)
    assert torch.equal(short.eval()(x), long.eval()(x))
    assert short(x).shape == (3, n)


@CONFIGURATIONS
def test_same_outputs_gradients_and_statistics_in_training(h, d, k, p, n):
    short, long = pair(h, d, k, p, n)
    x, y = torch.randn(3, 3, 4 * p, 5 * p), torch.arange(3) % n
    logits = [model.train()(x) for model in (short, long)]
    assert torch.equal(*logits)
    for one in logits:
        F.cross_entropy(one, y).backward()
    for one, other in zip(short.parameters(), long.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    for one, other in zip(short.buffers(), long.buffers(), strict=True):
        assert torch.equal(one, other)


def test_the_published_size_has_the_published_count():
    with torch.device("meta"):
        model = run_tweet()["ConvMixer"](1536, 20, 9, 7, 1000)
    assert sum(t.numel() for t in model.parameters()) == 51_625_960
