"""Writes a BERT sentence encoder as a GGUF: the matrices as Q8_0, the small tensors as they are.

    python -m gateway.engines.bert FOLDER OUT.gguf

A program of its own (see `minilm`), so that numpy and the whole model never stay in the memory of `serve`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

ARCHITECTURE = gguf.MODEL_ARCH.BERT
CONTROL_TOKENS = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]", "bos": "[CLS]"}
KEPT_WHOLE = ("position_embd.weight", "token_types.weight")  # llama.cpp adds these; it does not multiply by them

Array = npt.NDArray[Any]


def write(folder: Path, out: Path) -> None:
    """Convert the model in `folder` (config.json, vocab.txt, model.safetensors) to a GGUF at `out`."""
    config = json.loads((folder / "config.json").read_bytes())
    writer = gguf.GGUFWriter(out, gguf.MODEL_ARCH_NAMES[ARCHITECTURE])
    _add_shape(writer, config)
    _add_tokenizer(writer, (folder / "vocab.txt").read_text("utf-8").splitlines())
    names = gguf.get_tensor_name_map(ARCHITECTURE, config["num_hidden_layers"])
    for name, tensor in read_safetensors(folder / "model.safetensors"):
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if target and not name.startswith("pooler."):  # sentence vectors are means; the pooler goes unused
            _add_tensor(writer, target, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_safetensors(path: Path) -> Iterator[tuple[str, Array]]:
    """The float32 tensors of a safetensors file by name: 8 bytes of header length, a JSON header, then raw bytes."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    for name, entry in json.loads(data[8:start].tobytes()).items():
        if entry.get("dtype") == "F32":
            begin, end = entry["data_offsets"]
            yield name, data[start + begin : start + end].view(np.float32).reshape(entry["shape"])


def _add_shape(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    writer.add_name(config["_name_or_path"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def _add_tokenizer(writer: gguf.GGUFWriter, vocabulary: list[str]) -> None:
    control = {word for word in vocabulary if word.startswith("[unused")} | set(CONTROL_TOKENS.values())
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_type_count(2)
    writer.add_token_list([word if word in control else word_start(word) for word in vocabulary])
    types = [gguf.TokenType.CONTROL if word in control else gguf.TokenType.NORMAL for word in vocabulary]
    writer.add_token_types(types)
    for role, word in CONTROL_TOKENS.items():
        getattr(writer, f"add_{role}_token_id")(vocabulary.index(word))


def word_start(piece: str) -> str:
    """A WordPiece as llama.cpp writes it: it marks the beginning of a word, where BERT marks its continuation."""
    return piece[2:] if piece.startswith("##") else "\u2581" + piece


def _add_tensor(writer: gguf.GGUFWriter, name: str, tensor: Array) -> None:
    if tensor.ndim == 2 and name not in KEPT_WHOLE:
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, np.ascontiguousarray(tensor))


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
