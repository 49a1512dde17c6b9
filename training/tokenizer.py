"""The byte-level BPE shared by both models, and the chat template that frames a conversation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

PAD, BEGIN, SYSTEM, USER, ASSISTANT, END = SPECIALS = (
    "<|pad|>",
    "<|begin|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
)

# llama.cpp knows this split by the name below; every digit stands alone.
SPLIT_NAME = "qwen2"
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# A content may be text, null (a tool call) or a list of parts; unknown roles count as the user.
# Tools are listed in a system message of their own; calls are written the way many engines already parse them.
CHAT_TEMPLATE = """\
{{- '<|begin|>' -}}
{%- if tools -%}
{{- '<|system|>Tools:' -}}
{%- for tool in tools -%}{{- '\\n' + (tool | tojson) -}}{%- endfor -%}
{{- '<|end|>' -}}
{%- endif -%}
{%- for message in messages -%}
{%- if message['role'] in ['system', 'developer'] -%}{{- '<|system|>' -}}
{%- elif message['role'] == 'assistant' -%}{{- '<|assistant|>' -}}
{%- else -%}{{- '<|user|>' -}}
{%- endif -%}
{%- if message['content'] is string -%}{{- message['content'] | trim -}}
{%- elif message['content'] -%}
{%- for part in message['content'] -%}{%- if part['text'] -%}{{- part['text'] | trim -}}{%- endif -%}{%- endfor -%}
{%- endif -%}
{%- if message['tool_calls'] -%}
{%- for call in message['tool_calls'] -%}
{{- '<tool_call>\\n{"name": "' + call['function']['name'] + '", "arguments": ' -}}
{%- if call['function']['arguments'] is string -%}{{- call['function']['arguments'] -}}
{%- else -%}{{- call['function']['arguments'] | tojson -}}
{%- endif -%}
{{- '}\\n</tool_call>' -}}
{%- endfor -%}
{%- endif -%}
{{- '<|end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: str
    content: str


def train_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """Learn merges from the texts; special tokens take the first ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def special_id(token: str) -> int:
    """The id of a special token; they come first."""
    return SPECIALS.index(token)


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of plain text."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def frame(tokenizer: Tokenizer, messages: Sequence[Message]) -> tuple[list[int], list[bool]]:
    """Ids of a conversation, and which of them the model must produce (answers and their end)."""
    ids, wanted = [special_id(BEGIN)], [False]
    for message in messages:
        body = [*encode(tokenizer, message.content.strip()), special_id(END)]
        ids += [special_id(f"<|{message.role}|>"), *body]
        wanted += [False] + [message.role == "assistant"] * len(body)
    return ids, wanted
