"""Holds the length of lines, in characters. Documents (Markdown, HTML) and data have no limit."""
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAX_CHARACTERS = 100
KINDS = {".c", ".h", ".cu", ".inc", ".py", ".sh", ".js", ".mjs", ".css"}
NAMES = {"alpaca", "Makefile", "Dockerfile"}
NOT_OURS = {"build", "node_modules", ".git"}


def long_lines(root):
    """FILE:LINE for each line of a source file that is too long."""
    found = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if NOT_OURS & set(name.split("/")) or not path.is_file():
            continue
        if path.suffix in KINDS or path.name in NAMES:
            lines = path.read_text(encoding="utf-8").split("\n")
            found += [f"{name}:{number}" for number, line in enumerate(lines, 1)
                      if len(line) > MAX_CHARACTERS]
    return found


def test_lines_have_at_most_a_hundred_characters():
    assert long_lines(ROOT) == []


def test_the_check_finds_what_it_should(tmp_path):
    files = {
        "model/a.c": "int a;\n/* " + "é" * 94 + " */\n/* " + "é" * 95 + " */\n",
        "tests/b.py": "#" + "b" * 100,
        "alpaca": "c" * 101 + "\n" + "c" * 101,
        "docs/d.md": "d" * 200,
        "build/e.h": "e" * 200,
        "tests/browser/node_modules/f.js": "f" * 200,
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert long_lines(tmp_path) == ["alpaca:1", "alpaca:2", "model/a.c:3", "tests/b.py:1"]
