"""A llama of random weights as a GGUF: written in a moment, it lets a real engine run without trained weights."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

WIDTH, LAYERS, HEADS, FEED_FORWARD, CONTEXT = 64, 2, 4, 128, 8192
END = 0
TOOL_CALL = 5
SPECIAL = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<tool_call>", "</tool_call>")
PLAIN = (*map(chr, range(33, 127)), "\u0120", "\u010a", "th")  # ASCII, so that all output is UTF-8
TEMPLATE = """\
{%- if tools %}<|system|>
{%- for tool in tools %}{{ tool | tojson }}{% endfor %}<|end|>
{%- endif %}
{%- for message in messages %}<|{{ message.role }}|>
{%- if message.content %}{{ message.content }}{% endif %}
{%- for call in message.tool_calls or [] -%}
<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>
{%- endfor %}<|end|>
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""


def write_tiny(path: Path, seed: int = 7) -> Path:
    """Write the model; the same seed gives the same bytes."""
    writer = gguf.GGUFWriter(path, "llama")
    _add_shape(writer)
    _add_tokenizer(writer)
    _add_weights(writer, np.random.default_rng(seed))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_shape(writer: gguf.GGUFWriter) -> None:
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    kinds = [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * len(PLAIN)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*SPECIAL, *PLAIN])
    writer.add_token_types(kinds)
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(END)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def _add_weights(writer: gguf.GGUFWriter, random: np.random.Generator) -> None:
    def add(name: str, *shape: int, silent: int = 0) -> None:
        weights = (random.standard_normal(shape) * 0.2).astype(np.float32)
        weights[:silent] = 0
        writer.add_tensor(f"{name}.weight", weights)

    def add_norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))

    vocabulary = len(SPECIAL) + len(PLAIN)
    add("token_embd", vocabulary, WIDTH)
    add("output", vocabulary, WIDTH, silent=len(SPECIAL))  # at temperature 0 it speaks plain text only
    add_norm("output_norm")
    for layer in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            add_norm(f"blk.{layer}.{norm}")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{layer}.{part}", WIDTH, WIDTH)
        add(f"blk.{layer}.ffn_gate", FEED_FORWARD, WIDTH)
        add(f"blk.{layer}.ffn_up", FEED_FORWARD, WIDTH)
        add(f"blk.{layer}.ffn_down", WIDTH, FEED_FORWARD)
