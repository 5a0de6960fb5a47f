"""The exercises of chapter 03."""

import copy
import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from mixerlib import costs
from mixerlib.checks import shown
from mixerlib.models import create_model, model_entry, tweet
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Mistake, Numbers, Properties
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused, called, described


@exercise("tweet-1")
def where_are_the_parameters() -> Numbers:
    options = dict(model_entry("convmixer_1536_20").defaults)
    counts, h = costs.formulas("convmixer").counts(options, 224), options["dim"]
    share = counts.params["channel mixing"] / counts.total("params")
    return Numbers(
        {"share": share, "kernel size": h**0.5},
        [
            Mistake("That is the share of one block.", {"share": share / options["depth"]}),
            Mistake("Give the share as a number from 0 to 1.", {"share": 100 * share}),
            Mistake(
                "That is the depthwise kernels' share.",
                {
                    "share": options["depth"]
                    * h
                    * options["kernel_size"] ** 2
                    / counts.total("params")
                },
            ),
            Mistake("A depthwise kernel has k² weights, not k.", {"kernel size": h}),
            Mistake(
                "That k has h² weights in one kernel; there are h kernels.", {"kernel size": h**2}
            ),
        ],
    )


def _replaced(change: Any) -> Any:
    """A function that changes the first part of each block in a copy of a ConvMixer."""

    def changed(model: nn.Module) -> nn.Module:
        model = copy.deepcopy(model)
        for number, block in enumerate(model.blocks):
            block[0] = change(number, block[0])
        return model

    return changed


@exercise("tweet-2")
def without_the_residual() -> Properties:
    whole = "Nothing has changed: the residual is still there."
    gone = "The spatial mixing is gone with the residual: keep what lies inside it."
    some = "Not every block has lost its residual."
    ways = {
        whole: _replaced(lambda number, part: part),
        gone: _replaced(lambda number, part: nn.Identity()),
        some: _replaced(lambda number, part: part if number else part.fn),
    }
    right = _replaced(lambda number, part: part.fn)

    def judge(answer: Any) -> Iterator[Row]:
        for depth, k in ((2, 3), (3, 5)):
            torch.manual_seed(depth)
            model = create_model("convmixer", dim=8, depth=depth, kernel_size=k, patch_size=2)
            model = model.double().eval()
            x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
            new = called(answer, model)
            if not isinstance(new, nn.Module):
                raise Refused("Return a model, a module.")
            with torch.no_grad():
                logits = called(new, x)
                off = float((logits - right(model)(x)).abs().max())
                known = [
                    text
                    for text, way in ways.items()
                    if torch.allclose(logits, way(model)(x), rtol=0, atol=1e-9)
                ]
            yield Row(
                f"{depth} blocks, k = {k}: logits off by",
                f"{off:.1g}",
                "0",
                off < 1e-9,
                known[0] if known else "These are the logits of another network.",
            )

    return Properties(
        "Return a model whose blocks do not add their input.",
        judge,
        lambda: right,
        [Mistake(message, way) for message, way in ways.items()],
    )


@exercise("tweet-3")
def deep_enough_to_see() -> Numbers:
    places, k = 16, 5

    def blocks(reach: int, width: int) -> int:
        """How many steps of `reach` it takes from the first place to the last."""
        seen, count = 1, 0
        while seen < width:
            seen, count = seen + reach, count + 1
        return count

    depth = blocks((k - 1) // 2, places)
    return Numbers(
        {"blocks": depth},
        [
            Mistake("One too few: round up.", {"blocks": depth - 1}),
            Mistake(
                "A kernel reaches (k − 1)/2 places to each side, not k − 1.",
                {"blocks": blocks(k - 1, places)},
            ),
            Mistake(
                "Count places, not pixels: the map is 16 places wide.",
                {"blocks": blocks((k - 1) // 2, 2 * places)},
            ),
            Mistake("Each block reaches more than one place further.", {"blocks": places - 1}),
        ],
    )


def the_tweet() -> str:
    """The tweet's text, import line included."""
    source = inspect.getsource(tweet)
    return source[source.index("from torch.nn") :].rstrip()


@exercise("tweet-4")
def a_shorter_tweet() -> Properties:
    text = the_tweet()
    long = "It is not shorter by four characters."
    other = "It is shorter, but another network: some logits differ."
    shorter = text.replace("for _ in range(d)", "for _ in[0]*d")

    def judge(answer: Any) -> Iterator[Row]:
        if not isinstance(answer, str):
            raise Refused("Give the tweet as a text.")
        space: dict[str, Any] = {}
        try:
            exec(answer, space)
        except Exception as error:
            raise Refused(f"Your text raises {type(error).__name__}: {shown(str(error))}") from None
        if not callable(space.get("ConvMixer")):
            raise Refused("The text must define `ConvMixer`.")
        saved = len(text) - len(answer.rstrip())
        yield Row("characters saved", str(saved), "4 or more", saved >= 4, long)
        for h, d, k, p, n in ((8, 2, 3, 2, 10), (6, 3, 5, 4, 3)):
            torch.manual_seed(h)
            ours, theirs = called(space["ConvMixer"], h, d, k, p, n), tweet.ConvMixer(h, d, k, p, n)
            if not isinstance(ours, nn.Module):
                raise Refused(f"Your `ConvMixer` returns {described(ours)}, no network.")
            mine, its = ours.state_dict(), theirs.state_dict()
            fits = [w.shape for w in mine.values()] == [w.shape for w in its.values()]
            yield Row(
                f"h = {h}, d = {d}: the same tensors", "yes" if fits else "no", "yes", fits, other
            )
            if not fits:
                return
            ours.load_state_dict(dict(zip(mine, its.values(), strict=True)))
            x = torch.randn(2, 3, 16, 16)
            with torch.no_grad():
                off = float((ours.eval()(x) - theirs.eval()(x)).abs().max())
            yield Row(f"h = {h}, d = {d}: logits off by", f"{off:.1g}", "0", off < 1e-5, other)

    return Properties(
        "Give the text of the shorter tweet.",
        judge,
        lambda: shorter,
        [
            Mistake(long, text),
            Mistake(other, text.replace("GELU(),", "")),
        ],
    )
