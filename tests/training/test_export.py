"""The files that ship: shapes, sizes, and one tokenizer in two forms."""

import json
import struct
from pathlib import Path

import gguf
import httpx
import pytest
import xllamacpp
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from training.tokenizer import CHAT_TEMPLATE, SPECIALS, Message, frame

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("sluice-tiny", "sluice-small")
TEXTS = (
    "hello",
    "What is 3405 + 17?",
    "Sort: 9, 2,5 and\t7",
    "  two  spaces, then\n\na blank line\r\n",
    "Grüße aus Zürich, 東京 and 🙂!",
    "don't WON'T it's we'll",
    '{"tool_call": {"name": "x", "arguments": {"city": "Lima"}}}',
    "",
)


def gguf_path(name: str) -> Path:
    return ROOT / "gateway" / "weights" / f"{name}.gguf"


def checkpoint(name: str) -> Path:
    return ROOT / "training" / "checkpoints" / f"{name}-int8"


def stored_tensors(name: str) -> dict[str, tuple[str, list[int]]]:
    """Kind and shape of each tensor of a checkpoint, from the safetensors header."""
    data = (checkpoint(name) / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    return {key: (found["dtype"], found["shape"]) for key, found in header.items() if key != "__metadata__"}


@pytest.mark.parametrize("name", NAMES)
def test_gguf_and_tokenizer_json_agree(name: str) -> None:
    """llama.cpp and the Hugging Face tokenizer cut every text into the same ids."""
    tokenizer = Tokenizer.from_file(str(checkpoint(name) / "tokenizer.json"))
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf_path(name))
    params.n_ctx = 512
    params.port = 0
    params.verbosity = 0
    server = xllamacpp.Server(params)
    for text in TEXTS:
        response = httpx.post(f"{server.listening_address}/tokenize", json={"content": text}, trust_env=False)
        assert response.json()["tokens"] == tokenizer.encode(text, add_special_tokens=False).ids, text


@pytest.mark.parametrize("name", NAMES)
def test_the_template_frames_as_in_training(name: str) -> None:
    """The chat template and the training script give the same ids."""
    tokenizer = Tokenizer.from_file(str(checkpoint(name) / "tokenizer.json"))
    messages = [Message("system", "Be brief."), Message("user", " hi "), Message("assistant", "Hello!")]
    template = ImmutableSandboxedEnvironment().from_string(CHAT_TEMPLATE)
    text = template.render(messages=[vars(message) for message in messages], tools=None)
    assert tokenizer.encode(text, add_special_tokens=False).ids == frame(tokenizer, messages)[0]


@pytest.mark.parametrize("name", NAMES)
def test_both_formats_carry_the_template(name: str) -> None:
    """GGUF and tokenizer_config.json hold the template of the source."""
    found = gguf.GGUFReader(gguf_path(name)).get_field("tokenizer.chat_template")
    assert found is not None
    assert found.contents() == CHAT_TEMPLATE
    assert json.loads((checkpoint(name) / "tokenizer_config.json").read_text())["chat_template"] == CHAT_TEMPLATE


@pytest.mark.parametrize("name", NAMES)
def test_every_matrix_has_int8_weights_and_row_scales(name: str) -> None:
    """Each projection is int8 (out, in) with scales (out, 1), in the sizes that config.json gives."""
    config = json.loads((checkpoint(name) / "config.json").read_text())
    found = stored_tensors(name)
    width, inner = config["hidden_size"], config["intermediate_size"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    queries = config["num_attention_heads"] * config["head_dim"]
    shapes = {
        "self_attn.q_proj": [queries, width],
        "self_attn.k_proj": [keys, width],
        "self_attn.v_proj": [keys, width],
        "self_attn.o_proj": [width, queries],
        "mlp.gate_proj": [inner, width],
        "mlp.up_proj": [inner, width],
        "mlp.down_proj": [width, inner],
    }
    for layer in range(config["num_hidden_layers"]):
        for part, shape in shapes.items():
            assert found[f"model.layers.{layer}.{part}.weight"] == ("I8", shape)
            assert found[f"model.layers.{layer}.{part}.weight_scale"] == ("BF16", [shape[0], 1])
    assert found["model.embed_tokens.weight"] == ("BF16", [config["vocab_size"], width])
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"


@pytest.mark.parametrize("name", NAMES)
def test_gguf_tensors_have_the_sizes_of_the_checkpoint(name: str) -> None:
    """Both formats hold the same model: as many layers, the same embedding, Q8_0 matrices."""
    reader = gguf.GGUFReader(gguf_path(name))
    kinds = {tensor.name: tensor.tensor_type for tensor in reader.tensors}
    shapes = {tensor.name: [int(size) for size in reversed(tensor.shape)] for tensor in reader.tensors}
    stored = stored_tensors(name)
    assert shapes["token_embd.weight"] == stored["model.embed_tokens.weight"][1]
    assert shapes["blk.0.ffn_up.weight"] == stored["model.layers.0.mlp.up_proj.weight"][1]
    assert len(kinds) == sum(not key.endswith("_scale") for key in stored)
    assert all(kinds[key] == gguf.GGMLQuantizationType.Q8_0 for key in kinds if "norm" not in key)


@pytest.mark.parametrize("name", NAMES)
def test_special_tokens_come_first(name: str) -> None:
    """The ids of the frame are 0 to 5 in both models, and answers end with the last of them."""
    tokenizer = Tokenizer.from_file(str(checkpoint(name) / "tokenizer.json"))
    assert [tokenizer.token_to_id(token) for token in SPECIALS] == list(range(len(SPECIALS)))
    assert json.loads((checkpoint(name) / "config.json").read_text())["eos_token_id"] == len(SPECIALS) - 1


def test_weights_stay_small() -> None:
    """All weights that are committed take less than 24 MB."""
    files = [*(ROOT / "gateway" / "weights").glob("sluice-*.gguf")]
    files += [path for name in NAMES for path in checkpoint(name).iterdir()]
    assert sum(path.stat().st_size for path in files) < 24_000_000
