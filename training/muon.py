"""The Muon optimizer: momentum whose matrix updates are made orthogonal (Jordan et al., 2024)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class Muon(torch.optim.Optimizer):
    """For matrices only; matrices of one shape are orthogonalized together."""

    def __init__(self, weights: Iterable[Tensor], rate: float, momentum: float = 0.95, decay: float = 0.05) -> None:
        super().__init__(weights, {"lr": rate, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update from the gradients; a closure is not supported."""
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for weight in group["params"]:
                by_shape.setdefault(weight.shape, []).append(weight)
            for weights in by_shape.values():
                updates = orthogonal(torch.stack([self.nesterov(weight, group["momentum"]) for weight in weights]))
                rows, columns = weights[0].shape
                scale = max(1.0, rows / columns) ** 0.5
                for weight, update in zip(weights, updates, strict=True):
                    weight.mul_(1 - group["lr"] * group["decay"]).add_(update, alpha=-group["lr"] * scale)

    def nesterov(self, weight: Tensor, momentum: float) -> Tensor:
        """The gradient, looked at one momentum step ahead."""
        assert weight.grad is not None
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        kept: Tensor = state["momentum"].lerp_(weight.grad, 1 - momentum)
        return weight.grad.lerp(kept, momentum)


def orthogonal(matrices: Tensor, steps: int = 4) -> Tensor:
    """The nearest orthogonal matrices, roughly: (count, rows, columns), quintic Newton-Schulz."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    found: Tensor = x.transpose(1, 2) if tall else x
    return found
