"""The model folders that ship, opened with the real torch.nn.TransformerEncoder: the tensors
fit under their own names, and torch finds the validation loss that alpaca-train evaluate finds.
Skipped where PyTorch is not installed (Debian: python3-torch)."""
import json
import math
import os
import pathlib
import struct
import subprocess

import pytest

torch = pytest.importorskip("torch")

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("ALPACA_BIN", ROOT / "build" / "release"))
STORIES = 60  # enough for a figure to three digits, few enough for two cores
FOLDERS = sorted(path.parent for path in (ROOT / "weights").glob("*/model.safetensors"))


def read_safetensors(path):
    """The format is a length, a JSON header and raw bytes; this needs no library."""
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, info in header.items():
        begin, end = info["data_offsets"]
        data = bytearray(raw[8 + length + begin : 8 + length + end])
        dtype = {"F32": torch.float32, "BF16": torch.bfloat16}[info["dtype"]]
        tensors[name] = torch.frombuffer(data, dtype=dtype).reshape(info["shape"]).float()
    return tensors


class Alpaca(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.d_model = config["d_model"]
        self.embedding = torch.nn.Embedding(config["vocab_size"], self.d_model)
        layer = torch.nn.TransformerEncoderLayer(
            self.d_model, config["num_heads"], config["d_ff"], dropout=0.0,
            layer_norm_eps=config["norm_eps"], batch_first=True)
        self.encoder = torch.nn.TransformerEncoder(layer, config["num_layers"])
        self.head = torch.nn.Linear(self.d_model, config["vocab_size"])
        place = torch.arange(config["max_positions"])[:, None]
        even = torch.arange(0, self.d_model, 2)
        angle = place * torch.exp(even * -math.log(10000.0) / self.d_model)
        self.table = torch.zeros(config["max_positions"], self.d_model)
        self.table[:, 0::2] = torch.sin(angle)
        self.table[:, 1::2] = torch.cos(angle)

    def forward(self, ids):
        count = ids.shape[1]
        mask = torch.full((count, count), float("-inf")).triu(1)
        x = self.embedding(ids) * math.sqrt(self.d_model) + self.table[:count]
        return self.head(self.encoder(x, mask))


def stories():
    packed = ROOT / "data" / "tinystories-valid.jsonl.xz"
    text = subprocess.run(["xz", "-dc", packed], check=True, capture_output=True).stdout
    lines = [" ".join(json.loads(line)["text"].split()) for line in text.splitlines()]
    return lines[:STORIES]


def encode(folder, lines, config):
    output = subprocess.run(
        [BIN / "alpaca-tokenizer", "encode", "--model", folder / "tokenizer.model"],
        input="\n".join(lines) + "\n", check=True, capture_output=True, text=True).stdout
    for line in output.splitlines():
        ids = [config["bos_token_id"], *map(int, line.split()), config["eos_token_id"]]
        yield ids[: config["max_positions"]]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_torch_finds_the_same_loss(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    model = Alpaca(config)
    model.load_state_dict(read_safetensors(folder / "model.safetensors"), strict=True)
    model.eval()
    lines = stories()
    total, tokens = 0.0, 0
    with torch.no_grad():
        for ids in encode(folder, lines, config):
            row = torch.tensor([ids])
            logits = model(row[:, :-1])[0]
            total += torch.nn.functional.cross_entropy(logits, row[0, 1:], reduction="sum").item()
            tokens += len(ids) - 1
    text = tmp_path / "stories.txt"
    text.write_text("\n".join(lines) + "\n")
    ours = json.loads(subprocess.run(
        [BIN / "alpaca-train", "evaluate", "--json", "--model", folder, "--data", text],
        check=True, capture_output=True, text=True).stdout)
    assert ours["tokens"] == tokens
    assert ours["loss"] == pytest.approx(total / tokens, rel=1e-4)
