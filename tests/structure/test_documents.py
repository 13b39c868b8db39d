"""Holds that the documents name files that exist."""
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "bench/README.md", "docs/api.md",
             "docs/blind-reading.md", "docs/training.md", "docs/web.md"]
ROOMS = ["base", "tokenizer", "model", "engine", "train", "server", "cli", "evaluation", "web",
         "bench", "tests", "public",
         "weights", "data", "deploy", "docs"]
# Not `tests/NAME_test.c` nor `tests/fuzz/target_*.c`, which stand for many.
NAMED = re.compile(rf"(?:{'|'.join(ROOMS)})/[\w./-]*")
PLACEHOLDER = re.compile(r"[A-Z]{4}|[*]")


def named_files(text):
    """The files and folders of this repository that a document names in backticks."""
    for quoted in re.findall(r"`([^`\n]+)`", text):
        for word in quoted.split():
            name = NAMED.match(word)
            if name and not PLACEHOLDER.search(word.replace("README", "")):
                yield name[0]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_name_files_that_exist(document):
    names = set(named_files((ROOT / document).read_text()))
    assert {name for name in names if not (ROOT / name).exists()} == set()


def test_the_check_finds_names():
    text = ("`engine/gone.h`, then `make x && tests/run.sh build/release c`, `tests/NAME_test.c`, "
            "`tests/fuzz/target_*.c`, engine/bare.h, `server/http/`, `build/models/mini`")
    assert list(named_files(text)) == ["engine/gone.h", "tests/run.sh", "server/http/"]


def test_every_room_is_in_the_architecture():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    sources = {path.parent for path in ROOT.rglob("*.[ch]")}
    rooms = {path.relative_to(ROOT).as_posix() for path in sources}
    rooms = {room for room in rooms if not room.startswith(("tests", "bench", "build", "."))}
    assert {room for room in rooms if f"| `{room}/` |" not in text} == set()
    assert "train/grad" in rooms
