"""Write a trained model for the engines: GGUF for llama.cpp, INT8 or bf16 safetensors for vLLM."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import gguf
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from training.model import Llama, Shape
from training.tokenizer import BEGIN, CHAT_TEMPLATE, END, PAD, SPECIALS, SPLIT_NAME, special_id
from training.train import load_trained

HERE = Path(__file__).resolve().parent
GGUF_FOLDER = HERE.parent / "gateway" / "weights"
CHECKPOINTS = HERE / "checkpoints"

GGUF_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    """The GGUF tensor name for a parameter of `Llama`."""
    if name == "embed_tokens.weight":
        return "token_embd.weight"
    if name == "norm.weight":
        return "output_norm.weight"
    _, layer, rest = name.split(".", 2)
    return f"blk.{layer}.{GGUF_NAMES[rest.removesuffix('.weight')]}.weight"


def interleave(weight: Tensor, heads: int) -> Tensor:
    """Rows of a q or k projection in llama.cpp's order: rotary pairs side by side, not in halves."""
    rows, width = weight.shape
    return weight.view(heads, 2, rows // heads // 2, width).transpose(1, 2).reshape(rows, width)


def write_gguf(model: Llama, tokenizer: Tokenizer, path: Path) -> None:
    """One Q8_0 file with weights, tokenizer and chat template; norms stay in float32."""
    shape = model.shape
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name(shape.name)
    writer.add_license("apache-2.0")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.key_value_heads)
    writer.add_key_length(shape.head)
    writer.add_value_length(shape.head)
    writer.add_rope_dimension_count(shape.head)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    write_gguf_tokenizer(writer, tokenizer)
    heads = {"q_proj.weight": shape.heads, "k_proj.weight": shape.key_value_heads}
    for name, weight in model.state_dict().items():
        turned = heads.get(name.rpartition("self_attn.")[2])
        values = (interleave(weight, turned) if turned else weight).float().contiguous().numpy()
        if values.ndim == 1:
            writer.add_tensor(gguf_name(name), values)
        else:
            packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(gguf_name(name), packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_gguf_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    """The same tokens and merges as in tokenizer.json, in GGUF's words."""
    ids = tokenizer.get_vocab()
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    kinds = [gguf.TokenType.CONTROL if i < len(SPECIALS) else gguf.TokenType.NORMAL for i in range(len(ids))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(SPLIT_NAME)
    writer.add_token_list(sorted(ids, key=ids.__getitem__))
    writer.add_token_types(kinds)
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    writer.add_bos_token_id(special_id(BEGIN))
    writer.add_eos_token_id(special_id(END))
    writer.add_eot_token_id(special_id(END))
    writer.add_pad_token_id(special_id(PAD))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric INT8 with one scale per output row: weights (out, in), scales (out, 1)."""
    scale = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-8) / 127
    return (weight / scale).round().clamp(-127, 127).to(torch.int8), scale


def write_checkpoint(model: Llama, tokenizer: Tokenizer, folder: Path, *, int8: bool) -> None:
    """A folder in the Hugging Face Llama layout, as W8A8 compressed-tensors or as bf16."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for name, weight in model.state_dict().items():
        if int8 and name.endswith("_proj.weight"):
            whole, scale = quantize_rows(weight)
            tensors[f"model.{name}"] = whole
            tensors[f"model.{name}_scale"] = scale.to(torch.bfloat16)
        else:
            tensors[f"model.{name}"] = weight.to(torch.bfloat16).contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # safetensors leaves it readable to its owner alone
    write_json(folder / "config.json", config(model.shape, int8=int8))
    write_json(folder / "generation_config.json", generation_config())
    write_json(folder / "tokenizer_config.json", tokenizer_config(model.shape))
    tokenizer.save(str(folder / "tokenizer.json"))


def config(shape: Shape, *, int8: bool) -> dict[str, object]:
    """config.json of the Hugging Face Llama layout."""
    found: dict[str, object] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        "hidden_act": "silu",
        "hidden_size": shape.width,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "head_dim": shape.head,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.norm_epsilon,
        "rope_theta": shape.rope_base,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        **generation_config(),
    }
    if int8:
        found["quantization_config"] = QUANTIZATION
    return found


QUANTIZATION = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "kv_cache_scheme": None,
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "channel",
                "dynamic": False,
            },
            "input_activations": {
                "num_bits": 8,
                "type": "int",
                "symmetric": True,
                "strategy": "token",
                "dynamic": True,
            },
            "output_activations": None,
        }
    },
}


def generation_config() -> dict[str, object]:
    """The ids that begin, end and fill a sequence."""
    return {
        "bos_token_id": special_id(BEGIN),
        "eos_token_id": special_id(END),
        "pad_token_id": special_id(PAD),
    }


def tokenizer_config(shape: Shape) -> dict[str, object]:
    """tokenizer_config.json; the template frames the conversation, so nothing is added to it."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": PAD,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": shape.context,
        "chat_template": CHAT_TEMPLATE,
    }


def write_json(path: Path, value: dict[str, object]) -> None:
    """Indented, so that a change reads well in a diff."""
    path.write_text(json.dumps(value, indent=2) + "\n")


def main() -> None:
    """Export the newest trained state of the named models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("state", type=Path, nargs="+", help="state file(s) written by training.train")
    parser.add_argument("--gguf-folder", type=Path, default=GGUF_FOLDER)
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS)
    parser.add_argument("--bf16", action="store_true", help="also write an unquantized checkpoint")
    given = parser.parse_args()
    given.gguf_folder.mkdir(parents=True, exist_ok=True)
    for state in given.state:
        model, tokenizer = load_trained(state)
        name = model.shape.name
        write_gguf(model, tokenizer, given.gguf_folder / f"{name}.gguf")
        write_checkpoint(model, tokenizer, given.checkpoints / f"{name}-int8", int8=True)
        if given.bf16:
            write_checkpoint(model, tokenizer, given.checkpoints / f"{name}-bf16", int8=False)
        print(f"{name}: written")


if __name__ == "__main__":
    main()
