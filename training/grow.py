"""Make a wider and deeper model that says what a smaller one says, so that its training need not start from nothing.

The width doubles: the residual stream becomes [x, x], heads and hidden units are copied, and each matrix W reads the
doubled stream as [W/2 + R, W/2 - R] with a random R, which changes nothing yet but lets the copies drift apart
(function-preserving growth in the manner of Net2Net, Chen et al., 2016). New layers start with zero output.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.model import Llama, Shape

SPREAD = 0.5
"""Size of R, as a share of W's spread."""


def grow(small: Llama, shape: Shape) -> Llama:
    """A model of `shape`, twice as wide as `small` and possibly deeper, with the same outputs."""
    old = small.shape
    if (shape.width, shape.heads, shape.feed_forward) != (2 * old.width, 2 * old.heads, 2 * old.feed_forward):
        raise ValueError(f"{shape.name} is not twice as wide as {old.name}")
    grown = Llama(shape)
    kept = {place: layer for layer, place in enumerate(places(old.layers, shape.layers))}
    source = small.state_dict()
    target = {}
    for name, fresh in grown.state_dict().items():
        if not name.startswith("layers."):
            target[name] = doubled(name, source[name])
            continue
        _, layer, rest = name.split(".", 2)
        if int(layer) in kept:
            target[name] = doubled(name, source[f"layers.{kept[int(layer)]}.{rest}"])
        else:
            target[name] = torch.zeros_like(fresh) if rest.endswith(("o_proj.weight", "down_proj.weight")) else fresh
    grown.load_state_dict(target)
    return grown


def places(old: int, new: int) -> list[int]:
    """Where the old layers stand among the new ones: spread out, the first one first."""
    return [layer * (new - 1) // (old - 1) for layer in range(old)]


def doubled(name: str, weight: Tensor) -> Tensor:
    """One parameter for the doubled stream."""
    if name == "norm.weight":
        return torch.cat((weight, weight)) / 2
    if weight.dim() == 1:
        return torch.cat((weight, weight))
    if name == "embed_tokens.weight":
        return torch.cat((weight, weight), dim=1)
    rows = torch.cat((weight, weight))
    noise = torch.randn_like(rows) * weight.std() * SPREAD
    return torch.cat((rows / 2 + noise, rows / 2 - noise), dim=1)
