"""Holds the order of the rooms: who may include whom, and where each library stays.

ARCHITECTURE.md explains the order; here it is as a table. bench/ and tests/ may include anything.
"""
import fnmatch
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]

MAY_INCLUDE = {
    "base": {"base"},
    "tokenizer": {"base", "tokenizer"},
    "engine": {"base", "engine"},
    "train": {"base", "tokenizer", "engine", "train"},
    "tell": {"base", "tokenizer", "engine", "tell"},
    "server": {"base", "tokenizer", "engine", "tell", "server"},
}

# Header (a pattern) -> the only files of the rooms above that may include it.
ONLY_IN = {
    "microhttpd.h": ["server/http*.[ch]"],
    # Where JSON is read or written.
    "*cJSON.h": ["engine/safetensors_*.c", "engine/weights.c", "train/story_json.c", "train/journal.c",
                 "server/api*.c", "server/json*.c"],
    "cblas.h": ["engine/blas.c"],
    "openblas_config.h": ["engine/blas.c"],
    "*intrin.h": ["engine/kernels/*.[ch]"],
    "arm_*.h": ["engine/kernels/*.[ch]"],
    "cmocka.h": [],
}

MAX_LINES = 600
SOURCE_NAMES = ["*.c", "*.h", "*.py", "*.sh", "*.js", "*.mjs", "*.css", "*.html", "alpaca", "Makefile"]
NOT_OURS = {"build", "node_modules", ".git"}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def sources(root, names):
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        if path.is_file() and not NOT_OURS & set(inside.parts):
            if any(fnmatch.fnmatch(path.name, name) for name in names):
                yield inside.as_posix(), path.read_text(encoding="utf-8")


def include_violations(root):
    """One line for each #include that breaks the order."""
    found = []
    for name, text in sources(root, ["*.c", "*.h"]):
        room = name.split("/")[0]
        if room not in MAY_INCLUDE:
            continue
        for quote, header in INCLUDE.findall(text):
            if quote == '"':
                other = header.split("/")[0] if "/" in header else None
                if other is None:
                    found.append(f'{name}: "{header}" does not name its room')
                elif other not in MAY_INCLUDE[room]:
                    found.append(f"{name}: {room} must not include {other} ({header})")
            for pattern, allowed in ONLY_IN.items():
                if fnmatch.fnmatchcase(header.split("/")[-1], pattern):
                    if not any(fnmatch.fnmatchcase(name, place) for place in allowed):
                        found.append(f"{name}: {header} belongs into {' '.join(allowed) or 'tests'}")
    return found


def test_rooms_include_only_whom_they_may():
    assert include_violations(ROOT) == []


def test_the_rooms_are_all_known():
    rooms = {name.split("/")[0] for name, _ in sources(ROOT, ["*.c", "*.h"])}
    assert rooms - {"tests", "bench"} <= set(MAY_INCLUDE)
    assert {"base", "engine", "tokenizer"} <= rooms


def test_files_stay_small():
    long = [f"{name}: {text.count(chr(10))} lines" for name, text in sources(ROOT, SOURCE_NAMES)
            if text.count("\n") > MAX_LINES]
    assert long == []


def test_headers_say_what_they_are_for():
    silent = [name for name, text in sources(ROOT, ["*.h"])
              if not text.startswith(f"/* {name.split('/')[-1]} - ")]
    assert silent == []


def test_headers_are_guarded():
    unguarded = [name for name, text in sources(ROOT, ["*.h"])
                 if not re.search(r"^#ifndef (\w+)\n#define \1$", text, re.MULTILINE)]
    assert unguarded == []


def test_the_check_finds_what_it_should(tmp_path):
    broken = {
        "base/a.c": '#include "engine/model.h"\n',
        "tokenizer/a.c": '#  include "engine/model.h"\n',
        "engine/a.h": '#include "tokenizer/tokenizer.h"\n',
        "engine/b.c": "#include <cblas.h>\n",
        "engine/c.c": '#include "d.h"\n',
        "server/api.c": "#include <microhttpd.h>\n",
        "server/http.c": "#include <microhttpd.h>\n#include <cjson/cJSON.h>\n",
        "engine/attention.c": "#include <immintrin.h>\n",
        "train/fit.c": '#include "server/api.h"\n',
        "tell/main.c": '#include "train/dataset.h"\n',
        "tests/a_test.c": '#include "server/api.h"\n#include <cmocka.h>\n',
        "engine/kernels/avx2.c": '#include <immintrin.h>\n#include "engine/kernels/kernels.h"\n',
    }
    for name, text in broken.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    guilty = {line.split(":")[0] for line in include_violations(tmp_path)}
    assert guilty == set(broken) - {"tests/a_test.c", "engine/kernels/avx2.c"}
