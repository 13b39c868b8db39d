"""train/recipes/alpaca.sh, rehearsed: every step of the lineage, tiny models and few stories."""

import os
import subprocess

from test_fit import BINARY, ROOT, data, tensors  # noqa: F401

SCRIPT = ROOT / "train/recipes/alpaca.sh"
MEMBERS = [f"member-{i}" for i in range(1, 6)]
STUDENTS = [f"student-{i}" for i in range(1, 7)]
LINEAGE = [*MEMBERS, *STUDENTS, "alpaca", "mini"]


def rehearse(data, folder):
    """Stories and books are there already, so the script prepares nothing."""
    lines = (data / "train.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    for part in ("data", "books"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "data/train.txt").write_text("".join(lines[:200]), encoding="utf-8")
    (folder / "books/train.txt").write_text("".join(lines[200:]), encoding="utf-8")
    (folder / "data/valid.txt").write_bytes((data / "valid.txt").read_bytes())
    done = subprocess.run(
        ["sh", SCRIPT, folder, "--preset", "small", "--batch-tokens", "500", "--threads", "1",
         "--numeric", "f32"],
        env={**os.environ, "ALPACA_BIN": str(BINARY.parent), "SHARE": "0.001"},
        capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_members_teach_students_and_the_last_of_these_alpaca_and_that_one_mini(data, tmp_path):
    output = rehearse(data, tmp_path)
    assert [line for line in output.splitlines() if line.startswith("==")] == [
        f"== {name}" for name in LINEAGE]
    weights = [(tmp_path / "models" / name / "model.safetensors").read_bytes() for name in LINEAGE]
    assert len(set(weights)) == len(LINEAGE)
    recipes = {name: tensors(tmp_path / "runs" / name / "checkpoint.safetensors")[1]["recipe"]
               for name in LINEAGE}
    for setting in ("optimizer=muon lr=0.02 adam-lr=0.004", "weight-decay=0.1 dropout=0.1 ",
                    "schedule=linear warmup=60", "crop=0.5 average=ema average-decay=0.996"):
        assert setting in recipes["member-1"]

    def value(name, setting):
        """Of a setting of a run; None where its recipe has none."""
        return next((word.split("=", 1)[1] for word in recipes[name].split()
                     if word.startswith(f"{setting}=")), None)

    assert [value(name, "seed") for name in LINEAGE] == (
        "1 2 3 4 5 11 12 13 31 32 33 41 54".split())
    assert [value(name, "dropout") for name in LINEAGE] == (
        ["0.1"] * 5 + ["0.05", "0.05", "0.1", "0", "0", "0.05", "0", "0"])
    # The first number of a mix says which text it is.
    mixes = [value(name, "mix") for name in LINEAGE]
    assert [mix and mix.split(":", 1)[1] for mix in mixes] == [
        None, None, None, "0.5:0.5", "0.5:0.5", None, *["0.3:0.5"] * 7]
    assert len({mix.split(":")[0] for mix in mixes if mix}) == 1
    teachers = [value(name, "teacher") for name in LINEAGE]
    assert teachers[:5] == [None] * 5 and teachers[5] == teachers[6]
    assert len({*teachers[8:11]}) == 1 and len({*teachers[6:]}) == 5
    texts = [value(name, "data") for name in LINEAGE]
    assert texts[9] == texts[10] and {*texts[:9], *texts[11:]} == {texts[0]} != {texts[9]}
    assert {value(name, "teacher-weight") for name in LINEAGE[5:]} == {"0.8"}


def test_a_second_call_finds_everything_done(data, tmp_path):
    rehearse(data, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")}
    assert len(before) == 2 * len(LINEAGE)
    rehearse(data, tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.safetensors")} == before
