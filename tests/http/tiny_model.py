"""A model folder small enough to tell thousands of stories in seconds: random weights.

Its stories are gibberish with many single bytes, so that characters cut in half are as common as
they can be. The tokenizer is tests/data/tokenizer_small.model.
"""
import json
import random
import shutil
import struct
from pathlib import Path

TOKENIZER = Path(__file__).resolve().parents[1] / "data" / "tokenizer_small.model"
D_MODEL, D_FF, LAYERS, VOCAB, POSITIONS = 32, 64, 2, 420, 256
EOS = 2


def shapes():
    yield "embedding.weight", (VOCAB, D_MODEL)
    for layer in range(LAYERS):
        prefix = f"encoder.layers.{layer}."
        yield prefix + "self_attn.in_proj_weight", (3 * D_MODEL, D_MODEL)
        yield prefix + "self_attn.in_proj_bias", (3 * D_MODEL,)
        yield prefix + "self_attn.out_proj.weight", (D_MODEL, D_MODEL)
        yield prefix + "self_attn.out_proj.bias", (D_MODEL,)
        yield prefix + "linear1.weight", (D_FF, D_MODEL)
        yield prefix + "linear1.bias", (D_FF,)
        yield prefix + "linear2.weight", (D_MODEL, D_FF)
        yield prefix + "linear2.bias", (D_MODEL,)
        for norm in ("norm1", "norm2"):
            yield f"{prefix}{norm}.weight", (D_MODEL,)
            yield f"{prefix}{norm}.bias", (D_MODEL,)
    yield "head.weight", (VOCAB, D_MODEL)
    yield "head.bias", (VOCAB,)


def write_model(folder):
    """Creates the folder; every call writes the same model."""
    numbers = random.Random(1)
    folder.mkdir(parents=True)
    shutil.copy(TOKENIZER, folder / "tokenizer.model")
    (folder / "config.json").write_text(json.dumps({
        "name": "tiny", "model_type": "alpaca", "embedding_scale": "sqrt(d_model)",
        "position_encoding": "sinusoidal", "norm": "post", "activation": "relu",
        "d_model": D_MODEL, "num_heads": 4, "d_ff": D_FF, "num_layers": LAYERS,
        "vocab_size": VOCAB, "max_positions": POSITIONS, "norm_eps": 1e-5,
        "unk_token_id": 0, "bos_token_id": 1, "eos_token_id": EOS, "pad_token_id": 3}))
    header, data = {"__metadata__": {"format": "pt"}}, bytearray()
    for name, shape in shapes():
        count = shape[0] * (shape[1] if len(shape) == 2 else 1)
        if "norm" in name:
            values = [float(name.endswith("weight"))] * count
        else:
            values = [numbers.gauss(0, D_MODEL ** -0.5) for _ in range(count)]
        if name == "head.bias":
            values[EOS] = 2.0  # some stories end by themselves
        header[name] = {"dtype": "F32", "shape": shape,
                        "data_offsets": [len(data), len(data) + 4 * count]}
        data += struct.pack(f"<{count}f", *values)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return folder
