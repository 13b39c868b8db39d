"""alpaca-eval choices and prompts from outside: a model that knows nothing is at chance, one that
knows something is above it, and the seed determines every figure."""
import contextlib
import json
import math
import os
import pathlib
import pty
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARIES = pathlib.Path(os.environ.get("ALPACA_BIN", ROOT / "build/release")).resolve()
SMALL = str(ROOT / "weights/small")
BUILT = ["ending", "name", "thing", "order"]
BY_HAND = ["factual", "reasoning", "context"]


def run(*arguments):
    return subprocess.run([BINARIES / "alpaca-eval", *arguments], capture_output=True, text=True,
                          check=False)


def measure(*arguments):
    result = run(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def results(document, model):
    return {test["name"]: (test["chance"], *[(result["right"], result["cases"])
                                             for result in test["results"]
                                             if result["model"] == model][0])
            for test in document["choices"]["tests"]}


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """Of weights/small, and beside it of a model with random weights."""
    folder = tmp_path_factory.mktemp("models") / "random"
    made = subprocess.run([BINARIES / "alpaca-bench", "model", "--preset", "small", "--out", folder,
                           "--tokenizer", f"{SMALL}/tokenizer.model"],
                          capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return measure("choices", "--model", f"{SMALL},{folder}")


def deviations(chance, right, cases):
    """From chance, in standard deviations of the share."""
    return (right / cases - chance) / math.sqrt(chance * (1 - chance) / cases)


def test_a_model_that_knows_nothing_is_at_chance(figures):
    found = results(figures, "random")
    assert list(found) == BUILT + BY_HAND
    for name, (chance, right, cases) in found.items():
        assert abs(deviations(chance, right, cases)) < 3.5, (name, right, cases)


def test_a_small_model_knows_more_than_that(figures):
    found = results(figures, "small")
    for name in ["ending", "thing", "order"]:
        assert deviations(*found[name]) > 6, name


def test_there_are_enough_cases(figures):
    found = results(figures, "small")
    assert all(found[name][2] >= 400 for name in BUILT), found
    assert [found[name][2] for name in BY_HAND] == [80, 80, 80]


def test_models_side_by_side_are_asked_the_same_as_alone(figures):
    alone = results(measure("choices", "--model", SMALL), "small")
    assert alone == results(figures, "small")


def test_another_seed_draws_other_cases(figures):
    other = results(measure("choices", "--model", SMALL, "--seed", "2"), "small")
    assert other != results(figures, "small")
    assert all(other[name] == results(figures, "small")[name] for name in BY_HAND)


def test_the_table_shows_what_was_counted():
    arguments = ["choices", "--model", SMALL, "--cases", "20"]
    document, table = measure(*arguments), run(*arguments)
    assert table.returncode == 0, table.stderr
    lines = [line for line in table.stdout.splitlines() if line.startswith("| ")]
    assert lines[0].split(" | ")[-1] == "small |"
    for line, test in zip(lines[1:], document["choices"]["tests"], strict=True):
        [result] = test["results"]
        assert result["cases"] <= 20
        assert f"| {test['name']} |" in line
        assert f"| {100 * result['right'] / result['cases']:.1f} % (" in line


def test_prompts_are_answered_from_the_seed():
    first, again, other = (
        measure("prompts", "--model", SMALL, "--best-of", "2", "--seed", seed)["prompts"]
        for seed in ["1", "1", "2"])
    assert first == again and first != other
    assert (len(first["prompts"]), len(first["continuations"])) == (23, 3)
    original = json.loads((ROOT / "evaluation/original.json").read_text("utf-8"))
    for kind in ["prompts", "continuations"]:
        for prompt, given in zip(first[kind], original[kind], strict=True):
            [answer] = prompt.pop("answers")
            assert answer["model"] == "small" and answer["once"] and answer["best"]
            assert prompt == given


def test_a_terminal_shows_how_far_it_is_and_then_nothing_of_it(tmp_path):
    terminal, end = pty.openpty()
    with open(tmp_path / "out", "w+b") as out, subprocess.Popen(
            [BINARIES / "alpaca-eval", "prompts", "--model", SMALL, "--best-of", "1", "--json"],
            stdout=out, stderr=end) as process:
        os.close(end)
        shown = b""
        with contextlib.suppress(OSError):  # nobody has the other end any more
            while block := os.read(terminal, 4096):
                shown += block
    os.close(terminal)
    assert process.returncode == 0 and json.loads((tmp_path / "out").read_bytes())
    first, *lines, last = shown.decode().split("\r\x1b[K")  # each begins by clearing the one before
    assert first == last == ""
    counts = [re.fullmatch(r"prompts: small, (\d+) of \d+", line)[1] for line in lines]
    assert len(set(counts)) > 1


@pytest.mark.parametrize("arguments, message", [
    (["choices", "--model", "nowhere"], "nowhere"),
    (["choices", "--model", f"{SMALL},"], "--model is a list with commas"),
    (["choices", "--model", SMALL, "--pairs", "/nowhere.jsonl"], "/nowhere.jsonl"),
    (["choices", "--model", SMALL, "--data", "/nowhere.txt"], "/nowhere.txt"),
    (["prompts", "--model", SMALL, "--numeric", "int4"], "--numeric is int8 or f32"),
    (["prompts", "--best-of", "17"], "--best-of"),
    (["prompts", "--cases", "1"], "--cases"),
    (["guesses"], "no such command: guesses"),
])
def test_what_cannot_be_done_is_said(arguments, message):
    result = run(*arguments)
    assert result.returncode in (1, 2) and result.stdout == ""
    assert message in result.stderr
