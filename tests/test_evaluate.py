"""Evaluation, on logits small enough to check by hand."""

import math

import pytest
import torch
from torch import nn

from mixerlib.evaluate import evaluate


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
    with pytest.raises(ValueError, match=r"`normalise`=None .* not torch\.uint8"):
        evaluate(Pixels(), pixels, torch.tensor([1, 0]))
    result = evaluate(Pixels(), pixels, torch.tensor([1, 0]), normalise=lambda x: x / 255)
    assert result.top1 == 1 and result.loss == pytest.approx(math.log(1 + 1 / math.e))


@pytest.mark.parametrize(("count", "labels"), [(0, 0), (3, 2)])
def test_images_and_labels_must_match(count, labels):
    with pytest.raises(ValueError, match=rf"`images` \({count}\) and `labels` \({labels}\)"):
        evaluate(Pixels(), torch.zeros(count, 1, 1, 2), torch.zeros(labels, dtype=torch.long))
