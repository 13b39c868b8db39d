"""alpaca-train grow: a model that begins as smaller ones, and what a run makes of it."""

import json
import shutil
import subprocess

import pytest

from test_fit import BINARY, data, evaluate, finished, fit  # noqa: F401


def grow(data, out, *options):
    return subprocess.run([BINARY, "grow", "--data", data / "train.txt", "--out", out, *options],
                          capture_output=True, text=True)


def test_a_large_model_grows_from_smaller_ones(data, finished, tmp_path):
    """It begins where they are, with their tokenizer, and a run can start from it."""
    out = tmp_path / "grown" / "out"
    sources = [finished(recipe).folder for recipe in ("adam", "muon")]
    folders = [folder / "out" for folder in sources]
    done = grow(data, out, *folders)
    assert done.returncode == 0, done.stderr
    assert (out / "truecase.txt").read_bytes() == (data / "truecase.txt").read_bytes()
    grown = evaluate(data, tmp_path / "grown")["loss"]
    assert grown < max(evaluate(data, folder)["loss"] for folder in sources) + 0.1
    fit(data, tmp_path, "--preset", "alpaca", "--start", str(out),
        "--batch-tokens", "300", steps=1)
    foreign = shutil.copytree(folders[0], tmp_path / "foreign")
    (foreign / "tokenizer.model").write_bytes(b"other pieces")
    again = shutil.copytree(folders[0], tmp_path / "again")
    done = grow(data, again, again, again)
    assert done.returncode == 1 and "is one of the models to grow from" in done.stderr
    assert (again / "model.safetensors").read_bytes() == (
        folders[0] / "model.safetensors").read_bytes()
    for options, message in [(["--preset", "mini", *folders], "does not fit"),
                             (folders * 5, "unexpected argument"),
                             ([], "name the model folders"),
                             (["--preset", "large", *folders], "--preset must be"),
                             ([*folders, foreign], "is not the tokenizer"),
                             ([*folders, tmp_path], "tokenizer.model")]:
        done = grow(data, out, *options)
        assert done.returncode != 0 and message in done.stderr, done.stderr


def test_a_model_grows_layers_after_a_first_part_with_few(data, finished, tmp_path):
    """Half of the layers are trained first; those that come then add nothing yet."""
    def layers(folder):
        return json.loads((folder / "config.json").read_text())["num_layers"]

    done = grow(data, tmp_path / "few", "--layers", "2", finished("muon").folder / "out")
    assert done.returncode == 0, done.stderr
    options = ["--preset", "alpaca", "--start", str(tmp_path / "few"), "--batch-tokens", "300"]
    assert "alpaca with 8 layers" in fit(data, tmp_path, *options, status=1)
    fit(data, tmp_path, *options, "--layers", "2", steps=8)
    assert layers(tmp_path / "few") == layers(tmp_path / "out") == 2
    few = evaluate(data, tmp_path)["loss"]
    done = grow(data, tmp_path / "all" / "out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert layers(tmp_path / "all" / "out") == 8
    assert evaluate(data, tmp_path / "all")["loss"] == pytest.approx(few, abs=0.05)
