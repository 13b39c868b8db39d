"""alpaca-train truecase, the figure of the tables that ship, and alpaca-tokenizer truecase."""
import json
import lzma
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / os.environ.get("ALPACA_BIN", "build/release")
TABLES = sorted(ROOT.glob("weights/*/truecase.txt"))


def truecase(*options, **more):
    return subprocess.run([BIN / "alpaca-train", "truecase", *map(str, options)], cwd=ROOT,
                          capture_output=True, text=True, **more)


def share(output):
    return float(re.search(r": ([\d.]+) % of \d+ words right", output)[1])


def restore(folder, text):
    return subprocess.run([BIN / "alpaca-tokenizer", "truecase", "--model", folder],
                          input=text.encode(), capture_output=True, check=True).stdout.decode()


def test_the_tables_that_ship_get_at_least_99_7_percent_of_the_validation_words_right():
    assert [table.parent.name for table in TABLES] == ["alpaca", "mini", "small"]
    assert len({table.read_bytes() for table in TABLES}) == 1
    assert TABLES[0].stat().st_size < 200000
    output = truecase(check=True).stdout  # by default, what a newcomer asks: alpaca's table
    assert share(output) >= 99.7, output
    assert re.search(r" of 89304 words right, \d+ wrong$", output.strip())


def test_without_a_table_far_fewer_are_right(tmp_path):
    small = share(truecase("--table", tmp_path / "none.txt", check=True).stdout)
    assert 95 < small < 99


def test_wrong_words_are_shown_where_they_are(tmp_path):
    valid = tmp_path / "valid.txt"
    valid.write_text("One day a cAt met a dog.\nthe end\n")
    output = truecase("--table", TABLES[0], "--valid", valid, "--wrong", check=True).stdout
    assert "One day a [cat] met a dog." in output and "[The] end" in output
    assert " words right, " in output


def test_names_are_learned_from_stories(tmp_path):
    stories = []
    with lzma.open(ROOT / "data/tinystories-train.jsonl.xz", "rt", encoding="utf-8") as lines:
        for line in lines:
            story = json.loads(line)
            if "case restored by rule" not in story["version"]:
                stories.append(story["text"])
            if len(stories) == 600:
                break
    stories += ["Once upon a time, Blorf met McFee. A blik and Blorf saw McFee and a dog. "
                "The blik saw Blorf and McFee."] * 60
    (tmp_path / "stories.json").write_text(json.dumps(stories))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes((ROOT / "weights/small/tokenizer.model").read_bytes())
    learn = [tmp_path / "stories.json", "--table", folder / "truecase.txt"]
    output = truecase(*learn, check=True).stdout
    assert share(output) > 98.5 and "from 660 stories of" in output
    table = (folder / "truecase.txt").read_bytes()
    assert len(table) < 200000 and b"\n=McFee\n" in table
    count = table.count(b"\n")
    assert table.startswith(b"truecase 1\n# %d lines\n" % count)
    cut = tmp_path / "cut.txt"
    cut.write_bytes(table[:table.rindex(b"\n", 0, len(table) // 2) + 1])
    assert re.search(rf"{cut} is cut off: it has \d+ of its {count} lines",
                     truecase("--table", cut).stderr)
    text = "once upon a time, blorf met mcfee. the blik saw blorf's dog.\n\n\"i am lily!\"\n"
    assert restore(folder, text) == (
        "Once upon a time, Blorf met McFee. The blik saw Blorf's dog.\n\n\"I am Lily!\"\n")
    truecase(*learn, check=True)
    assert (folder / "truecase.txt").read_bytes() == table  # the same stories, the same table


def test_each_line_is_a_text_of_its_own():
    lines = restore(ROOT / "weights/small", "i saw spot.\nspot ran\r\n\nno line break")
    assert lines == "I saw Spot.\nSpot ran\r\n\nNo line break\n"


@pytest.mark.parametrize("options, message", [
    (["data/tinystories-valid.jsonl.xz"], "--table FILE is missing"),
    (["nothing.txt", "--table", "/dev/null/x"], "nothing.txt"),
    (["--table", "README.md"], "README.md is no table for capitals: line 1"),
    (["--passes", "0"], "passes"), (["--valid", "nothing.txt"], "nothing.txt")])
def test_what_is_wrong_is_said(options, message):
    result = truecase(*options)
    assert result.returncode in (1, 2) and message in result.stderr


def test_stories_are_not_replaced_by_their_table(tmp_path):
    stories = tmp_path / "stories.txt"
    stories.write_text("Tom ran. Tom saw Lily. Lily ran.\n")
    (tmp_path / "link").symlink_to(stories)
    for options in ([stories, "--table", tmp_path / "link"],
                    [ROOT / "data/tinystories-valid.jsonl.xz", "--table", stories,
                     "--valid", stories]):
        result = truecase(*options)
        assert result.returncode == 2 and "--table: " in result.stderr
        assert "holds stories" in result.stderr
        assert stories.read_text() == "Tom ran. Tom saw Lily. Lily ran.\n"


def test_the_tokenizer_wants_a_model_folder():
    result = subprocess.run([BIN / "alpaca-tokenizer", "truecase", "--model", ROOT / "weights"],
                            capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert result.returncode == 2 and "--model must be a model folder" in result.stderr
