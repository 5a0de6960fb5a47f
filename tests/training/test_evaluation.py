"""Evaluation, on logits small enough to check by hand."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from helpers import few_digits
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mixerlib.data import Dataset
from mixerlib.training.evaluation import Evaluation, evaluate, evaluate_on


class Pixels(nn.Module):
    """Takes an image's pixels as the logits, and remembers the sizes of its batches."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(x))
        return x.flatten(1)


def images(logits: list[list[float]]) -> torch.Tensor:
    return torch.tensor(logits)[:, None, None, :]


def test_by_hand():
    logits = [[2.0, 0, 0], [0, 2.0, 0], [0, 2.0, 0], [0, 0, 2.0], [2.0, 0, 0]]
    labels = torch.tensor([0, 1, 2, 2, 2])
    model = Pixels()
    result = evaluate(model, images(logits), labels, batch_size=2)
    right, wrong = -math.log(math.e**2 / (math.e**2 + 2)), -math.log(1 / (math.e**2 + 2))
    assert result.loss == pytest.approx((3 * right + 2 * wrong) / 5, rel=1e-6)
    assert result.top1 == 3 / 5
    assert result.top5 == 1.0  # there are three classes only
    assert result.predictions.tolist() == [0, 1, 1, 2, 0]
    assert result.confusion.tolist() == [[1, 0, 0], [0, 1, 0], [1, 1, 1]]
    assert model.sizes == [2, 2, 1]


def test_top5_is_the_five_highest():
    logits = torch.arange(8.0).expand(8, 8)  # the five highest are 3 … 7
    result = evaluate(Pixels(), images(logits.tolist()), torch.arange(8))
    assert result.top5 == 5 / 8 and result.top1 == 1 / 8


def test_every_part_keeps_its_mode():
    frozen = nn.BatchNorm1d(3).eval()
    model = nn.Sequential(Pixels(), frozen, nn.BatchNorm1d(3), nn.Dropout(0.5))
    before = [buffer.clone() for buffer in model.buffers()]
    evaluate(model, images([[1.0, 2, 3], [3, 2, 1]]), torch.tensor([0, 1]))
    assert [m.training for m in model.modules()] == [True, True, False, True, True]
    assert all(map(torch.equal, before, model.buffers()))


def test_uint8_images_are_normalised_in_batches():
    pixels = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8)[:, None, None, :]
    with pytest.raises(ValueError, match=r"`normalize`=None .* not torch\.uint8"):
        evaluate(Pixels(), pixels, torch.tensor([1, 0]))
    result = evaluate(Pixels(), pixels, torch.tensor([1, 0]), normalize=lambda x: x / 255)
    assert result.top1 == 1 and result.loss == pytest.approx(math.log(1 + 1 / math.e))


@pytest.mark.parametrize(("count", "labels"), [(0, 0), (3, 2)])
def test_images_and_labels_must_match(count, labels):
    with pytest.raises(ValueError, match=rf"`images` \({count}\) and `labels` \({labels}\)"):
        evaluate(Pixels(), torch.zeros(count, 1, 1, 2), torch.zeros(labels, dtype=torch.long))


def test_each_class_s_accuracy():
    logits = [[2.0, 0, 0], [0, 2.0, 0], [0, 2.0, 0], [0, 0, 2.0]]
    result = evaluate(Pixels(), images(logits), torch.tensor([0, 2, 2, 2]))
    assert result.per_class.tolist() == [1, pytest.approx(math.nan, nan_ok=True), 1 / 3]


def test_the_two_looks_of_a_flip_average():
    """By hand: the logits of an image are its pixels, those of its mirror image their reverse."""
    logits = [[4.0, 1, 0], [0, 5.0, 6], [1.0, 0, 0]]
    labels = torch.tensor([2, 1, 1])
    model = Pixels()
    plain = evaluate(model, images(logits), labels)
    assert plain.predictions.tolist() == [0, 2, 0] and model.sizes == [3]
    both = evaluate(model, images(logits), labels, flip_average=True, batch_size=2)
    means = torch.tensor([[2.0, 1, 2], [3, 5, 3], [0.5, 0, 0.5]])
    assert both.predictions.tolist() == means.argmax(dim=1).tolist() == [0, 1, 0]
    assert both.loss == pytest.approx(F.cross_entropy(means, labels).item(), rel=1e-6)
    assert model.sizes == [3, 2, 2, 1, 1]  # every image twice


def test_a_model_that_does_not_see_left_and_right_gains_nothing():
    torch.manual_seed(0)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
    pictures, labels = torch.randn(20, 3, 5, 5), torch.randint(4, (20,))
    plain, both = (evaluate(model, pictures, labels, flip_average=f) for f in (False, True))
    assert both.loss == pytest.approx(plain.loss, rel=1e-5)
    assert torch.equal(both.predictions, plain.predictions)


@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 30), st.integers(0, 99))
def test_against_a_loop_over_images(count, classes, batch_size, seed):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=random)
    labels = torch.randint(classes, (count,), generator=random)
    actual = evaluate(Pixels(), logits[:, None, None, :], labels, batch_size=batch_size)
    loss, correct, among = 0.0, 0, 0
    confusion = [[0] * classes for _ in range(classes)]
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        loss -= row[label] - math.log(sum(map(math.exp, row)))
        order = sorted(range(classes), key=lambda k, row=row: -row[k])
        correct += order[0] == label
        among += label in order[:5]
        confusion[label][order[0]] += 1
    assert actual.loss == pytest.approx(loss / count, rel=1e-4, abs=1e-6)
    assert (actual.top1, actual.top5) == (correct / count, among / count)
    assert actual.confusion.tolist() == confusion


# On a data set


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return few_digits(test=53)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def values(actual: Evaluation) -> tuple:
    return (
        actual.loss,
        actual.top1,
        actual.top5,
        actual.predictions.tolist(),
        actual.confusion.tolist(),
    )


@pytest.mark.parametrize("flip_average", [False, True])
def test_a_data_set_s_test_images(digits, model, flip_average):
    actual = evaluate_on(model, digits, batch_size=20, flip_average=flip_average)
    expected = evaluate(
        model,
        digits.test_images,
        digits.test_labels,
        normalize=digits.normalize,
        batch_size=20,
        flip_average=flip_average,
    )
    assert values(actual) == values(expected)
    assert len(actual.predictions) == 53


@pytest.mark.parametrize("count", [1, 2, 5, 53])
def test_the_parts_of_several_processes_are_the_whole(digits, model, count):
    whole = evaluate_on(model, digits)
    parts = [evaluate_on(model, digits, part=(i, count), batch_size=8) for i in range(count)]
    sizes = [len(part.predictions) for part in parts]
    assert sum(sizes) == 53 and max(sizes) - min(sizes) <= 1
    assert torch.equal(torch.cat([part.predictions for part in parts]), whole.predictions)
    assert torch.equal(sum(part.confusion for part in parts), whole.confusion)
    for name in ("loss", "top1", "top5"):
        mean = sum(n * getattr(part, name) for n, part in zip(sizes, parts, strict=True)) / 53
        assert mean == pytest.approx(getattr(whole, name), rel=1e-5)


def test_images_are_judged_in_the_size_that_they_are_trained_in(digits):
    sizes = []
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 10))
    model.register_forward_hook(lambda module, inputs, output: sizes.append(inputs[0].shape[2:]))
    evaluate_on(model, replace(digits, resized_to=12))
    assert sizes == [(12, 12)]


def test_after_an_error_every_part_is_in_its_mode_too(digits):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(63, 10)).train()
    with pytest.raises(RuntimeError):
        evaluate_on(model, digits)
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1], dtype=torch.int32), r"`labels` of torch.int32, \(2,\), must be of"),
        (torch.tensor([[0], [1]]), r"`labels` of torch.int64, \(2, 1\), must be of"),
        (torch.tensor([1, 3]), "`labels` from 1 to 3 must be classes of the model, 0 to 2"),
        (torch.tensor([-100, 2]), "`labels` from -100 to 2 must be classes of the model, 0 to 2"),
    ],
)
def test_labels_must_be_classes(labels, message):
    """On a GPU a label that is no class would end the use of the GPU by the whole process."""
    with pytest.raises(ValueError, match=message):
        evaluate(Pixels(), torch.zeros(2, 1, 1, 3), labels)


@pytest.mark.parametrize("size", [0, -1, 2.0])
def test_a_batch_has_images(size):
    with pytest.raises(ValueError, match=f"`batch_size`={size} must be a positive whole number"):
        evaluate(Pixels(), torch.zeros(2, 1, 1, 3), torch.tensor([0, 1]), batch_size=size)


def test_a_data_set_without_test_images(digits, model):
    none = replace(digits, test_images=digits.test_images[:0], test_labels=digits.test_labels[:0])
    with pytest.raises(ValueError, match="`dataset`='digits' has no test images"):
        evaluate_on(model, none)
