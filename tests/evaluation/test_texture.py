"""alpaca-eval texture and grade: the seed decides the figures, and refusals are clear."""
import json
import lzma
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
EVAL = pathlib.Path(os.environ.get("ALPACA_BIN", ROOT / "build/release")).resolve() / "alpaca-eval"
SMALL = str(ROOT / "weights/small")
# Names are in it, and sentences that a parser knows.
STORIES = [f"One day, a girl named {girl} saw a {thing}. {girl} was very happy. Then she went home "
           f"with it. The {thing} liked {girl} and the new home. They played all day, and they "
           "were friends."
           for girl in ["Lily", "Mia", "Anna"] for thing in ["dog", "kite", "ball", "cat", "duck"]]


def run(*arguments, **options):
    return subprocess.run([EVAL, *arguments], capture_output=True, text=True, check=False,
                          **options)


def write_stories(path, stories):
    path.write_text("".join(json.dumps({"text": story}) + "\n" for story in stories))
    return str(path)


@pytest.fixture
def files(tmp_path):
    return ["--data", write_stories(tmp_path / "data.jsonl", STORIES[:8]),
            "--training", write_stories(tmp_path / "training.jsonl", STORIES[8:])]


def texture(*arguments, **options):
    result = run("texture", "--model", SMALL, "--stories", "8", "--json", *arguments, **options)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_the_seed_determines_every_figure(files):
    first = texture(*files)
    assert texture(*files, "--threads", "1") == first
    assert texture(*files, "--seed", "2")["texture"]["sets"][0] != first["texture"]["sets"][0]
    assert [part["name"] for part in first["texture"]["sets"]] == ["small", "real stories"]
    assert [part["stories"] for part in first["texture"]["sets"]] == [8, 8]


def test_stories_that_are_in_the_training_text_are_found_whole(files):
    before = texture(*files)["memory"]["sets"][1]
    files[3] = files[1]
    after = texture(*files)
    real = after["memory"]["sets"][1]
    assert before["longest"] < real["median"]
    assert all(run["text"].startswith("one day, a girl named")
               and run["text"].endswith("they were friends.")
               for run in real["longest_runs"])
    assert after["texture"]["sets"][1]["unknown_words"] == 0


def test_by_default_all_text_that_ships_to_be_learned_from_is_training_text(files):
    """However much of it the models took: what they know by heart is not their own."""
    ships = [path for path in (ROOT / "data").glob("*.jsonl.xz") if "valid" not in path.name]
    stories = sum(len(lzma.decompress(path.read_bytes()).splitlines()) for path in ships)
    assert len(ships) > 1
    assert texture(*files[:2])["texture"]["training_stories"] == stories


def test_training_text_may_be_several_files(files, tmp_path):
    whole = texture(*files)
    texts = [write_stories(tmp_path / f"{i}.jsonl", STORIES[8:][i::2]) for i in range(2)]
    files[3] = ",".join(texts)
    assert texture(*files) == whole
    files[3] = texts[0]
    assert texture(*files)["memory"]["training_tokens"] < whole["memory"]["training_tokens"]


def test_words_and_names_come_from_the_training_text(files, tmp_path):
    files[3] = write_stories(tmp_path / "other.jsonl",
                             ["A fox ran.", "A dog named Lily and a dog named Lily ran."])
    real = texture(*files)["texture"]["sets"][1]
    assert "kite" in real["unknown_examples"] and "dog" not in real["unknown_examples"].split(", ")
    assert real["unknown_words"] > 0


def test_without_the_parser_its_figure_is_skipped_by_name(files, tmp_path):
    # --json leaves the figure out, and the table says why.
    result = run("texture", "--model", SMALL, "--stories", "4", *files,
                 env={**os.environ, "PATH": str(tmp_path)})
    assert result.returncode == 0, result.stderr
    row = [line for line in result.stdout.splitlines() if "link-grammar" in line]
    assert len(row) == 1 and row[0].count("skipped: no link-parser here") == 2


@pytest.mark.parametrize("arguments, status, words", [
    (["--stories", "0"], 2, "--stories must be a whole number, 1 to 100000"),
    (["--training", "nowhere.jsonl"], 1, "nowhere.jsonl"),
    (["--training", ","], 1, "--training is a list with commas between its items"),
    (["--data", "nowhere.jsonl"], 1, "nowhere.jsonl"),
    (["--model", "nowhere"], 1, "nowhere"),
])
def test_wrong_options_are_refused_by_name(arguments, status, words, files):
    result = run("texture", "--model", SMALL, "--stories", "2", *files, *arguments)
    assert result.returncode == status and words in result.stderr, result.stderr
    assert result.stdout == ""


def test_a_page_of_grades_that_cannot_be_written_is_an_error(tmp_path):
    result = run("grade", "--model", SMALL, "--out", str(tmp_path / "nowhere" / "page.html"))
    assert result.returncode == 1 and "nowhere" in result.stderr
