"""A message about a file or folder that cannot be used names the option that named it."""
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("ALPACA_BIN", ROOT / "build/release")).resolve()
SMALL = ROOT / "weights/small"
VOCABULARY = SMALL / "tokenizer.model"

# The commands, and for each of their options that takes a path the other arguments with which that
# path is reached. {stories} is a file of stories, {out} a folder that can be made.
STORIES = ["--train", "{stories}", "--valid", "{stories}", "--tokenizer", VOCABULARY]
FIT = ["--preset", "small", "--numeric", "f32", "--out", "{out}", "--run", "{out}", *STORIES]
TEXTURE = ["--model", SMALL, "--stories", "1", "--training", "{stories}"]
REPORT = ["--from", ROOT / "docs/evaluation.json", "--out", "{out}"]
COMMANDS = {
    ("alpaca-tell",): {"model": [], "draft": ["--model", SMALL]},
    ("alpaca-tokenizer",): {},
    ("alpaca-tokenizer", "encode"): {"model": []},
    ("alpaca-tokenizer", "truecase"): {"model": []},
    ("alpaca-train", "prepare"): {"out": ["{stories}"], "valid": ["{stories}", "--out", "{out}"]},
    ("alpaca-train", "fit"): dict.fromkeys(
        ["train", "mix", "valid", "tokenizer", "out", "run", "teacher", "start"], FIT),
    ("alpaca-train", "grow"): {"data": ["--preset", "small", SMALL],
                               "out": ["--preset", "small", "--data", "{stories}", SMALL]},
    ("alpaca-train", "evaluate"): {"model": [], "data": ["--model", SMALL]},
    ("alpaca-train", "truecase"): {"table": ["--valid", "{stories}"], "valid": []},
    ("alpaca-bench", "engine"): {"model": [], "draft": ["--model", SMALL]},
    ("alpaca-bench", "attention"): {"model": []},
    ("alpaca-bench", "loss"): {"model": [], "data": ["--model", SMALL]},
    ("alpaca-bench", "serve"): {"model": []},
    ("alpaca-bench", "model"): {"tokenizer": ["--preset", "small", "--out", "{out}"],
                                "out": ["--preset", "small"]},
    ("alpaca-eval", "prompts"): {"model": []},
    ("alpaca-eval", "choices"): {"model": [], "data": ["--model", SMALL],
                                 "pairs": ["--model", SMALL, "--data", "{stories}"]},
    ("alpaca-eval", "texture"): {"model": [], "data": TEXTURE, "training": TEXTURE},
    ("alpaca-eval", "grade"): {"model": [], "out": ["--model", SMALL]},
    ("alpaca-eval", "report"): {
        "model": ["--out", "{out}"], "out": REPORT, "from": REPORT, "grades": REPORT,
        "data": ["--model", SMALL, "--out", "{out}"],
        "pairs": ["--model", SMALL, "--out", "{out}", "--data", "{stories}"],
        "training": ["--model", SMALL, "--out", "{out}", "--data", "{stories}"]},
}
SHAPES = {"mix": "{}:0.1:0.5", "teacher": "{},{}"}
# A path stands for one of several things, so the help does not say that it takes one.
ALSO = {("alpaca-bench", "engine"): {"model"}, ("alpaca-bench", "attention"): {"model"}}
WRITTEN = {"out", "run"}
PATH_OPTION = re.compile(r"^  --([\w-]+) (?:FILE|FOLDER|DIR)", re.MULTILINE)


def run(command, *arguments):
    return subprocess.run([BIN / command[0], *command[1:], *arguments], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_option_that_takes_a_path_is_left_out_here(command):
    """`encode` and `truecase` are no commands with a help of their own."""
    listed = set(PATH_OPTION.findall(run(command, "--help").stdout))
    held = {option for other, options in COMMANDS.items() for option in options
            if other[:len(command)] == command}
    assert listed | ALSO.get(command, set()) == held


@pytest.mark.parametrize("program", ["alpaca-train", "alpaca-bench", "alpaca-eval"])
def test_no_command_is_left_out_here(program):
    listed = re.findall(r"^  ([a-z]+) ", run((program,), "--help").stdout, re.MULTILINE)
    without = [name for name in listed if PATH_OPTION.search(run((program, name), "--help").stdout)]
    assert set(without) <= {command[1] for command in COMMANDS if command[0] == program}


def unusable(option, folder):
    """Paths that cannot be read or, for an option that says where to write, written."""
    inside_a_file = folder / "stories.txt" / "inside"
    if option == "table":
        return [folder]  # one that is not there stands for the rules that need no table
    return [inside_a_file] if option in WRITTEN else [folder / "nowhere", inside_a_file]


@pytest.mark.parametrize("command, option", [
    pytest.param(command, option, id=" ".join([*command, f"--{option}"]))
    for command, options in COMMANDS.items() for option in options])
def test_the_option_of_an_unusable_path_is_named(command, option, tmp_path):
    stories = tmp_path / "stories.txt"
    stories.write_text("once there was a goat.\nthe goat ran to the hill and slept.\n")
    for path in unusable(option, tmp_path):
        arguments = [str(argument).format(stories=stories, out=tmp_path / "made")
                     for argument in COMMANDS[command][option]]
        given = SHAPES.get(option, "{}").format(path, SMALL)
        if f"--{option}" in arguments:
            arguments[arguments.index(f"--{option}") + 1] = given
        else:
            arguments += [f"--{option}", given]
        done = run(command, *arguments)
        assert done.returncode != 0
        assert re.search(rf"--{option}\b.*{re.escape(str(path))}", done.stderr), done.stderr
