"""A small Llama in plain torch: what the training script trains and the exporter writes out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """The sizes of one model; `head` is the width of one attention head."""

    name: str
    vocabulary: int
    width: int
    layers: int
    heads: int
    key_value_heads: int
    feed_forward: int
    head: int = 64
    context: int = 4096
    rope_base: float = 10000.0
    norm_epsilon: float = 1e-5


class Attention(nn.Module):
    """Causal attention with rotary positions; queries may share keys and values."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        query_width = shape.heads * shape.head
        key_width = shape.key_value_heads * shape.head
        self.q_proj = nn.Linear(shape.width, query_width, bias=False)
        self.k_proj = nn.Linear(shape.width, key_width, bias=False)
        self.v_proj = nn.Linear(shape.width, key_width, bias=False)
        self.o_proj = nn.Linear(query_width, shape.width, bias=False)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        batch, length, _ = x.shape
        shape = self.shape
        q = self.q_proj(x).view(batch, length, shape.heads, shape.head).transpose(1, 2)
        k = self.k_proj(x).view(batch, length, shape.key_value_heads, shape.head).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, shape.key_value_heads, shape.head).transpose(1, 2)
        q, k = rotate(q, cosine, sine), rotate(k, cosine, sine)
        mixed = functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, enable_gqa=shape.heads != shape.key_value_heads
        )
        out: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        return out


class FeedForward(nn.Module):
    """The gated feed-forward block (SwiGLU)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.down_proj = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Block(nn.Module):
    """One layer: attention, then feed-forward, each normed first and added back."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self.mlp = FeedForward(shape)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor, kept: Tensor | None = None) -> Tensor:
        """`kept` (batch, length) picks positions after attention, where the rest is of no more use."""
        x = x + self.self_attn(self.input_layernorm(x), cosine, sine)
        if kept is not None:
            x = x[kept]
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Llama(nn.Module):
    """Token ids in, hidden states out; `logits` reads them with the tied embedding.

    Parameter names are those of the Hugging Face layout without its `model.` prefix.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=0.02 if "embed" in name else weight.shape[1] ** -0.5)
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    weight.data.mul_((2 * shape.layers) ** -0.5)

    def forward(self, ids: Tensor, kept: Tensor) -> Tensor:
        """Ids (batch, length) to hidden states (count, width) at the positions where `kept` (batch, length) is true."""
        cosine, sine = rotation(self.shape, ids.shape[1])
        x = self.embed_tokens(ids)
        last = len(self.layers) - 1
        for depth, layer in enumerate(self.layers):
            x = layer(x, cosine, sine, kept if depth == last else None)
        out: Tensor = self.norm(x)
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states to one score per vocabulary entry."""
        return functional.linear(hidden, self.embed_tokens.weight)


def rotation(shape: Shape, length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary angles, each (length, head), halves repeated."""
    steps = torch.arange(0, shape.head, 2, dtype=torch.float32) / shape.head
    angles = torch.outer(torch.arange(length, dtype=torch.float32), shape.rope_base**-steps)
    doubled = torch.cat((angles, angles), dim=-1)
    return doubled.cos(), doubled.sin()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn queries or keys by their positions (the two-halves layout of Hugging Face)."""
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-second, first), dim=-1) * sine


def parameter_count(model: nn.Module) -> int:
    """Trainable numbers in the model; a tied embedding counts once."""
    return sum(weight.numel() for weight in model.parameters())
