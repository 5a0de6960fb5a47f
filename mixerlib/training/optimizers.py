"""What moves the weights of a run: AdamW, or Muon for the matrices that mix and AdamW for the rest.

>>> from mixerlib.data import load_dataset
>>> from mixerlib.training import load_recipe, model_for, optimizer_for
>>> recipe = load_recipe("digits", {"optimizer": "muon"})
>>> model = model_for(recipe, load_dataset("digits"))
>>> [len(group["params"]) for group in optimizer_for(recipe, model).param_groups]
[4, 34]

Loshchilov & Hutter, arXiv 1711.05101; Jordan et al., *Muon*, 2024. Chapters 13 and 15.
"""

import inspect
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from mixerlib.training.recipe import Recipe

# Jordan's a, b and c, which in five steps lift singular values from 0.002 on to about 0.7 to 1.2,
# and would never settle at 1
QUINTIC = (3.4445, -4.7750, 2.0315)
STEPS = 5


def optimizer_for(recipe: Recipe, model: nn.Module) -> torch.optim.AdamW:
    """AdamW over what the recipe trains, with its weight decay on all of it or on matrices only;
    with `optimizer` "muon" one whose `mixing_matrices` take Muon's steps.

    Matrices are the kernels and weights, with two dimensions or more; biases and the scales and
    shifts of normalisation have one. Raises `ValueError` for Muon where nothing mixes.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": trained}]
    if recipe.decay_on == "matrices":
        groups = [
            {"params": [p for p in trained if p.ndim > 1]},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
    settings: dict[str, Any] = {
        "lr": recipe.max_learning_rate,
        "weight_decay": recipe.weight_decay,
        "eps": recipe.adam_epsilon,
        "fused": trained[0].device.type in ("cpu", "cuda"),  # one kernel; the same arithmetic
    }
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, **settings)
    if not (mixing := mixing_matrices(model)):
        raise ValueError(
            f"`optimizer`={recipe.optimizer!r} is for a model whose `blocks` have matrices, not "
            f"for `model`={recipe.model!r}"
        )
    taken = set(mixing)
    for group in groups:
        group["params"] = [p for p in group["params"] if p not in taken]
    groups = [group for group in groups if group["params"]]
    return MuonWithAdamW(mixing, groups, **settings)


def mixing_matrices(model: nn.Module) -> list[nn.Parameter]:
    """The trained weights in a model's `blocks` that are matrices from channels, or places, to
    others: (out, in, …). A depthwise kernel has one channel in, so it is none; the patch embedding
    and the head lie outside the blocks."""
    blocks = getattr(model, "blocks", None)
    parameters = blocks.parameters() if isinstance(blocks, nn.Module) else ()
    return [p for p in parameters if p.requires_grad and p.ndim > 1 and p.shape[1] > 1]


class MuonWithAdamW(torch.optim.AdamW):
    """Muon for some matrices, AdamW for the other parameters, at one learning rate.

    Muon's step has the direction of the gradient's moving average G, looked at one step ahead, with
    all its singular values made about equal: of G = U S Vᵀ it takes about U Vᵀ, so that it moves
    the weak directions as far as the strong ones. It is scaled by 0.2 √max(out, in), which gives
    its entries about the size of those that AdamW has (Liu et al., arXiv 2502.16982): rate and
    decay can stay.

    Args:
        matrices: (out, in, …), which are flattened to (out, in · …).
        groups: of the other parameters, as AdamW takes them.
        lr: of both.
        weight_decay: of both; a group may have its own.
        momentum: of the moving average, from 0 and below 1.
        eps: AdamW's.
        fused: AdamW's.

    Raises `ValueError` for a matrix of fewer than two dimensions, and a momentum out of its range.
    """

    def __init__(
        self,
        matrices: Sequence[nn.Parameter],
        groups: Sequence[dict[str, Any]],
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        eps: float = 1e-8,
        fused: bool | None = None,
    ):
        if not 0 <= momentum < 1:
            raise ValueError(f"`momentum`={momentum} must be from 0 and below 1")
        for matrix in matrices:
            if matrix.ndim < 2:
                shape = tuple(matrix.shape)
                raise ValueError(f"`matrices` must have two dimensions or more, not {shape}")
        first = {"params": list(matrices), "muon": True, "momentum": momentum}
        groups = [first, *({"muon": False} | dict(group) for group in groups)]
        super().__init__(groups, lr=lr, weight_decay=weight_decay, eps=eps, fused=fused)
        # a scaler of gradients is to divide by its scale, and to leave a step out, by itself
        self._step_supports_amp_scaling = False

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step of each, and the loss that `closure` gives, if there is one: it is called first.

        AdamW leaves out what has no gradient, so the matrices lend theirs out meanwhile.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moved = [p for group in self.param_groups if group["muon"] for p in group["params"]]
        gradients = [p.grad for p in moved]
        for p in moved:
            p.grad = None
        inspect.unwrap(torch.optim.AdamW.step)(self)  # without hooks, which this step has called
        for p, gradient in zip(moved, gradients, strict=True):
            p.grad = gradient
        for group in self.param_groups:
            if group["muon"]:
                self._step_matrices(group)
        return loss

    def _step_matrices(self, group: dict[str, Any]) -> None:
        alike: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)  # one kernel for all
        for p in group["params"]:
            if p.grad is not None:
                alike[p.shape[0], p[0].numel()].append(p)
        for (rows, columns), matrices in alike.items():
            ahead = []
            for p in matrices:
                state = self.state[p]
                if not state:  # AdamW's `__setstate__` asks every state for its step
                    state["step"] = torch.zeros((), dtype=torch.float32, device=p.device)
                    state["momentum_buffer"] = torch.zeros_like(p)
                state["step"] += 1
                mean = state["momentum_buffer"].lerp_(p.grad, 1 - group["momentum"])
                ahead.append(p.grad.lerp(mean, group["momentum"]).reshape(rows, columns))
            size = 0.2 * max(rows, columns) ** 0.5 * group["lr"]
            for p, step in zip(matrices, orthogonal(torch.stack(ahead)), strict=True):
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(step.reshape(p.shape), alpha=size)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """(…, n, m) → U Vᵀ of each matrix U S Vᵀ, nearly: its singular values become 0.7 to 1.2.

    By `STEPS` steps of X ← a X + b (X Xᵀ) X + c (X Xᵀ)² X from X = G / ‖G‖, which change the
    singular values and nothing else, each by the same odd polynomial. Values below two thousandths
    of ‖G‖ stay smaller. Jordan et al. 2024; chapter 15.

    >>> import torch
    >>> from mixerlib.training import orthogonal
    >>> orthogonal(torch.diag(torch.tensor([3.0, 0.3]))).diag().round(decimals=2)
    tensor([0.7000, 0.7100])
    """
    a, b, c = QUINTIC
    rows, columns = matrices.shape[-2:]
    x = matrices.mT if rows > columns else matrices  # the smaller of the two products
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    for _ in range(STEPS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if rows > columns else x
