"""train/recipes/alpaca.sh, rehearsed: every step of the lineage, tiny models and few stories."""

import os
import subprocess

from test_fit import BINARY, ROOT, data, tensors  # noqa: F401

SCRIPT = ROOT / "train/recipes/alpaca.sh"


def rehearse(data, folder):
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data/train.txt").write_bytes((data / "train.txt").read_bytes())
    (folder / "data/valid.txt").write_bytes((data / "valid.txt").read_bytes())
    done = subprocess.run(
        ["sh", SCRIPT, folder, "--preset", "small", "--batch-tokens", "500", "--threads", "1",
         "--numeric", "f32"],
        env={**os.environ, "ALPACA_BIN": str(BINARY.parent), "MEMBERS": "2", "SHARE": "0.001"},
        capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_members_teach_a_student_and_that_one_mini(data, tmp_path):
    output = rehearse(data, tmp_path)
    assert [line for line in output.splitlines() if line.startswith("==")] == [
        "== member-1", "== member-2", "== alpaca", "== mini"]
    weights = [(tmp_path / "models" / name / "model.safetensors").read_bytes()
               for name in ("member-1", "member-2", "alpaca", "mini")]
    assert len(set(weights)) == 4
    recipes = {name: tensors(tmp_path / "runs" / name / "checkpoint.safetensors")[1]["recipe"]
               for name in ("member-1", "alpaca", "mini")}
    assert "teacher" not in recipes["member-1"]
    for setting in ("optimizer=muon lr=0.02 adam-lr=0.004", "weight-decay=0.1 dropout=0.1 ",
                    "schedule=linear warmup=60", "crop=0.5 average=ema average-decay=0.996"):
        assert setting in recipes["member-1"]
    assert " dropout=0.05 " in recipes["alpaca"] and " dropout=0.05 " in recipes["mini"]
    assert "teacher-weight=0.8" in recipes["alpaca"] and "teacher-weight=0.8" in recipes["mini"]
    assert recipes["alpaca"].split("teacher=")[1] != recipes["mini"].split("teacher=")[1]


def test_a_second_call_finds_everything_done(data, tmp_path):
    rehearse(data, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")}
    rehearse(data, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")} == before
