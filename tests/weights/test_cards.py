"""The model cards say what the folders hold."""

import json
import re
import struct
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted(path.parent for path in ROOT.glob("weights/*/README.md"))


@pytest.fixture(params=FOLDERS, ids=lambda folder: folder.name)
def folder(request):
    return request.param


def rows(folder):
    """The card's table, {first column: second column}."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| (\w+) \| (.+) \|$", text, flags=re.MULTILINE))


def config(folder):
    return json.loads((folder / "config.json").read_text())


def header(folder):
    with open(folder / "model.safetensors", "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        return {name: tensor for name, tensor in json.loads(file.read(size)).items()
                if name != "__metadata__"}


def test_there_are_cards():
    assert [folder.name for folder in FOLDERS] == ["alpaca", "mini", "small"]


def test_the_shape_is_that_of_the_config(folder):
    c = config(folder)
    heads, layers = c["num_heads"], c["num_layers"]
    assert rows(folder)["shape"] == (
        f"d_model {c['d_model']}, {heads} head{'s' * (heads > 1)}, d_ff {c['d_ff']}, "
        f"{layers} layer{'s' * (layers > 1)}, {c['max_positions']} positions")


def test_the_shape_is_that_of_the_tensors(folder):
    c, tensors = config(folder), header(folder)
    assert tensors["embedding.weight"]["shape"] == [c["vocab_size"], c["d_model"]]
    assert tensors["encoder.layers.0.linear1.weight"]["shape"] == [c["d_ff"], c["d_model"]]
    assert sum(name.endswith("linear1.weight") for name in tensors) == c["num_layers"]


def test_the_parameters_are_counted(folder):
    count = 0
    for tensor in header(folder).values():
        size = 1
        for length in tensor["shape"]:
            size *= length
        count += size
    assert rows(folder)["parameters"] == f"{count:,}"


def test_the_tokens_are_those_of_the_config(folder):
    c, tokens = config(folder), rows(folder)["tokens"]
    assert f"{c['vocab_size']} pieces" in tokens
    assert f"at most {c['max_positions']} per story" in tokens


def test_the_files_are_there_in_their_type(folder):
    files = rows(folder)["files"]
    assert set(re.findall(r"`([^`]+)`", files)) == {
        path.name for path in folder.iterdir() if path.name != "README.md"}
    (dtype,) = {tensor["dtype"] for tensor in header(folder).values()}
    assert f"`model.safetensors` ({dtype})" in files
