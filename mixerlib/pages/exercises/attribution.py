"""The exercises of chapter 22."""

import random
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from mixerlib.data import Dataset, load_dataset
from mixerlib.inside import deletion_curve, integrated_gradients, occlusion
from mixerlib.pages.exercises.entries import exercise
from mixerlib.pages.exercises.judges import Function, Mistake, Numbers, Properties
from mixerlib.pages.exercises.outcome import Row
from mixerlib.pages.exercises.running import Refused, called

METHODS = ("gradient × input", "integrated", "occlusion")


class Product(nn.Module):
    """F(x) = x₁·x₂ of images of two pixels: (B, 1, 1, 2) → (B, 1)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).prod(dim=1, keepdim=True)


@exercise("attr-1")
def two_pixels() -> Numbers:
    model, x = Product().eval(), torch.tensor([2.0, 3.0]).view(1, 1, 1, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(model(x).sum(), x)
    first, second = gradient.flatten().tolist()
    shares = {
        "gradient × input": gradient * x.detach(),
        "integrated": integrated_gradients(model, x.detach(), 0, steps=2),
        "occlusion": occlusion(model, x.detach(), 0),
    }
    whole = float(model(x.detach()))
    (complete,) = (name for name in METHODS if abs(float(shares[name].sum()) - whole) < 1e-4)
    each = {f"{name}, each pixel": float(shares[name].flatten()[0]) for name in METHODS}
    return Numbers(
        {"∂F/∂x₁": first, "∂F/∂x₂": second, **each, "sums to F(x) − F(0)": complete},
        [
            Mistake(
                "The derivative by x₁ is x₂, and that by x₂ is x₁.",
                {"∂F/∂x₁": second, "∂F/∂x₂": first},
            ),
            Mistake(
                "On the way from zero the gradient grows with t: integrate t·x₂ from 0 to 1.",
                {"integrated, each pixel": each["gradient × input, each pixel"]},
            ),
            Mistake(
                "Without one pixel the product is 0, so the whole of it is lost.",
                {"occlusion, each pixel": each["integrated, each pixel"]},
            ),
            *(
                Mistake(
                    f"{name.capitalize()} gives all of it to each pixel: the sum has it twice.",
                    {"sums to F(x) − F(0)": name},
                )
                for name in METHODS
                if name != complete
            ),
        ],
    )


@exercise("attr-2")
def the_level_of_a_class_map() -> Function:
    def cases(draw: random.Random) -> Iterator[tuple]:
        for _ in range(6):
            generator = torch.Generator().manual_seed(draw.randrange(2**31))
            classes, h = draw.randint(2, 5), draw.randint(6, 9)
            sizes = ((classes, h), (classes,), (h,), (h,))
            yield tuple(torch.randn(size, generator=generator) for size in sizes)

    return Function(
        "Write a function of the head's weights (K, h) and bias (K,) and of the norm's scale a and "
        "shift b, both (h,); it returns the new weights and the new bias.",
        lambda W, c, a, b: (W * a, c + W @ b),
        cases,
        [
            Mistake(
                "The shift goes through the weights into the bias.", lambda W, c, a, b: (W * a, c)
            ),
            Mistake(
                "The shift comes after the scale: it goes through the old weights.",
                lambda W, c, a, b: (W * a, c + (W * a) @ b),
            ),
            Mistake(
                "What went in times a goes in as it is now: so the weights are multiplied by a.",
                lambda W, c, a, b: (W / a, c + W @ b),
            ),
        ],
        tolerance=1e-4,
    )


def linear_classifier(images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    """The best linear map from pixels to classes by squared error, with a ridge; no training."""
    x = torch.cat([images.flatten(1), torch.ones(len(images), 1)], dim=1).double()
    targets = nn.functional.one_hot(labels).double()
    ridge = len(images) / 100 * torch.eye(x.shape[1], dtype=torch.float64)
    solved = torch.linalg.solve(x.T @ x + ridge, x.T @ targets).float()
    linear = nn.Linear(x.shape[1] - 1, targets.shape[1])
    # scores of about 0 and 1 are too close to one another for a softmax to tell them apart
    linear.weight.data, linear.bias.data = 10 * solved[:-1].T.contiguous(), 10 * solved[-1]
    return nn.Sequential(nn.Flatten(), linear).eval()


def by_nearest(images: torch.Tensor, train: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The ink, times what the nearest mean of a class has there and the others lack."""
    means = torch.stack([train[labels == k].mean(0) for k in labels.unique().tolist()])
    away = (images[:, None] - means).square().flatten(2).sum(2)
    return ((images - train.min()) * (means[away.argmin(1)] - means.mean(0))).sum(1)


@exercise("attr-3")
def please_the_judge() -> Properties:
    as_fast = (
        "That is not shown to be faster than the ink: let ink that tells classes apart go first."
    )
    slower = "That is slower than the ink: begin with bright pixels."

    def ink(images: torch.Tensor, train: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return images.sum(1)

    def judge(answer: Any) -> Iterator[Row]:
        if not callable(answer):
            raise Refused("Give a function of the images, the training images and their labels.")
        digits = load_dataset("digits")
        assert isinstance(digits, Dataset)  # they are in memory
        train, labels = digits.normalize(digits.train_images), digits.train_labels
        images, classes = digits.normalize(digits.test_images), digits.test_labels
        model, black = linear_classifier(train, labels), float(train.min())

        def means(scores: Any) -> torch.Tensor:
            """The mean probability of each image on its way."""
            if not isinstance(scores, torch.Tensor) or scores.shape != images[:, 0].shape:
                shape = tuple(images[:, 0].shape)
                raise Refused(f"Your function must return scores, one a pixel: {shape}.")
            return deletion_curve(model, images, scores, classes, black).mean(1)

        yours = means(called(answer, images, train, labels))
        draw = torch.Generator().manual_seed(0)  # many pixels are equally bright: any may go first
        noise = [1e-4 * torch.rand(images[:, 0].shape, generator=draw) for _ in range(8)]
        of_ink = torch.stack([means(ink(images, train, labels) + ties) for ties in noise]).mean(0)
        gain, half = (of_ink - yours).mean(), 1.96 * (of_ink - yours).std() / len(images) ** 0.5
        yield Row(
            "mean probability while pixels go",
            f"{yours.mean():.3f}",
            f"below {of_ink.mean() - half:.3f}, the ink's less the 95% interval",
            bool(gain > half),
            as_fast if gain > -0.02 else slower,
        )

    return Properties(
        "Write a function of the images, the training images and their labels, all of the digits, "
        "normalized; it returns scores (B, H, W). The judge here is a linear classifier.",
        judge,
        lambda: by_nearest,
        [Mistake(as_fast, ink), Mistake(slower, lambda images, train, labels: -images.sum(1))],
    )


@exercise("attr-4")
def a_baseline_that_is_not_one_image() -> Function:
    def cases(draw: random.Random) -> Iterator[tuple]:
        for count in (2, 3, 5, 8):
            yield draw.uniform(-5, 5), torch.tensor([draw.uniform(-5, 5) for _ in range(count)])

    return Function(
        "Write a function of the image's logit, a number, and of the baselines' logits (n,); it "
        "returns what the shares sum to.",
        lambda logit, others: logit - float(others.mean()),
        cases,
        [
            Mistake(
                "That is the sum with a baseline whose logit is 0.", lambda logit, others: logit
            ),
            Mistake(
                "The shares are a mean over the baselines, so their logits are one too.",
                lambda logit, others: logit - float(others.sum()),
            ),
            Mistake("That is the way back.", lambda logit, others: float(others.mean()) - logit),
            Mistake("All of the baselines count.", lambda logit, others: logit - float(others[0])),
        ],
    )
