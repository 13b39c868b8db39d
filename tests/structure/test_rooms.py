"""Holds the order of the rooms: who may include whom, and where each library stays.

ARCHITECTURE.md explains the order; here it is as a table. bench/ and tests/ may include anything.
"""
import fnmatch
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Room -> the rooms it may include. A folder inside a room is a room of its own where it is named.
MAY_INCLUDE = {
    "base": {"base"},
    "tokenizer": {"base", "tokenizer"},
    "model": {"base", "model", "model/kernels"},
    "model/kernels": {"base", "model/kernels"},
    "engine": {"base", "tokenizer", "model", "engine"},
    "train": {"base", "tokenizer", "model", "model/kernels", "train", "train/data", "train/grad",
              "train/optim"},
    "train/data": {"base", "tokenizer", "train/data"},
    "train/grad": {"base", "model", "model/kernels", "train/optim", "train/grad"},
    "train/optim": {"base", "model", "model/kernels", "train/optim"},
    "server": {"base", "tokenizer", "model", "model/kernels", "engine", "server", "server/http", "server/api"},
    "server/http": {"base", "server", "server/http", "server/api"},
    "server/api": {"base", "tokenizer", "model", "engine", "server", "server/api"},
    "cli": {"base", "tokenizer", "model", "engine", "cli"},
}

# Header (a pattern) -> the only files of the rooms above that may include it.
ONLY_IN = {
    "microhttpd.h": ["server/http/*.[ch]"],
    # Where JSON is read or written.
    "*cJSON.h": ["model/safetensors_*.c", "model/weights.c", "train/data/story_json.c",
                 "train/training_log.c", "server/api/*.c"],
    "cblas.h": ["model/blas.c"],
    "openblas_config.h": ["model/blas.c"],
    "*intrin.h": ["model/kernels/*.[ch]"],
    "arm_*.h": ["model/kernels/*.[ch]"],
    "cmocka.h": [],
}

MAX_LINES = 600
SOURCE_NAMES = ["*.c", "*.h", "*.py", "*.sh", "*.js", "*.mjs", "*.css", "*.html", "alpaca", "Makefile"]
NOT_OURS = {"build", "node_modules", ".git"}

DECLARED = re.compile(r"^struct (\w+);", re.MULTILINE)
DEFINED = re.compile(r"^struct (\w+) \{", re.MULTILINE)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def sources(root, names):
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        if path.is_file() and not NOT_OURS & set(inside.parts):
            if any(fnmatch.fnmatch(path.name, name) for name in names):
                yield inside.as_posix(), path.read_text(encoding="utf-8")


def room_of(path):
    """The innermost folder of `path` that is a room."""
    parts = path.split("/")[:-1]
    for length in range(len(parts), 0, -1):
        if "/".join(parts[:length]) in MAY_INCLUDE:
            return "/".join(parts[:length])
    return parts[0] if parts else None


def include_violations(root):
    """One line for each #include that breaks the order."""
    found = []
    for name, text in sources(root, ["*.c", "*.h"]):
        room = room_of(name)
        if room not in MAY_INCLUDE:
            continue
        for quote, header in INCLUDE.findall(text):
            if quote == '"':
                other = room_of(header)
                if other is None:
                    found.append(f'{name}: "{header}" does not name its room')
                elif other not in MAY_INCLUDE[room]:
                    found.append(f"{name}: {room} must not include {other} ({header})")
            for pattern, allowed in ONLY_IN.items():
                if fnmatch.fnmatchcase(header.split("/")[-1], pattern):
                    if not any(fnmatch.fnmatchcase(name, place) for place in allowed):
                        found.append(f"{name}: {header} belongs into {' '.join(allowed) or 'tests'}")
    return found


def foreign_types(root):
    """One line for each type that a header declares and only a room defines that it may not include."""
    homes, found = {}, []
    for name, text in sources(root, ["*.c", "*.h"]):
        for struct in DEFINED.findall(text):
            homes.setdefault(struct, set()).add(room_of(name))
    for name, text in sources(root, ["*.h"]):
        for struct in DECLARED.findall(text):
            allowed = MAY_INCLUDE.get(room_of(name))
            if allowed and struct in homes and not homes[struct] & allowed:
                found.append(f"{name}: struct {struct} is of {' '.join(homes[struct])}")
    return found


def test_rooms_include_only_whom_they_may():
    assert include_violations(ROOT) == []


def test_headers_name_no_type_of_a_higher_room():
    assert foreign_types(ROOT) == []


def test_the_rooms_are_all_known():
    rooms = {name.split("/")[0] for name, _ in sources(ROOT, ["*.c", "*.h"])}
    assert rooms - {"tests", "bench"} <= set(MAY_INCLUDE)
    assert {"base", "engine", "tokenizer", "model"} <= rooms


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
        "base/a.c": '#include "model/model.h"\n',
        "tokenizer/a.c": '#  include "model/model.h"\n',
        "engine/a.h": '#include "server/service.h"\n',
        "model/a.h": '#include "tokenizer/tokenizer.h"\n',
        "train/data/a.h": '#include "model/model.h"\n',
        "server/api/routes.h": '#include "server/http/daemon.h"\n',
        "engine/b.c": "#include <cblas.h>\n",
        "engine/c.c": '#include "d.h"\n',
        "server/api/request.c": "#include <microhttpd.h>\n",
        "server/http/daemon.c": "#include <microhttpd.h>\n#include <cjson/cJSON.h>\n",
        "model/attention.c": "#include <immintrin.h>\n",
        "train/fit.c": '#include "server/api/request.h"\n',
        "cli/main.c": '#include "train/data/dataset.h"\n',
        "tests/a_test.c": '#include "server/api/request.h"\n#include <cmocka.h>\n',
        "model/kernels/avx2.c": '#include <immintrin.h>\n#include "model/kernels/kernels.h"\n',
    }
    for name, text in broken.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    guilty = {line.split(":")[0] for line in include_violations(tmp_path)}
    assert guilty == set(broken) - {"tests/a_test.c", "model/kernels/avx2.c"}


def test_the_check_of_types_finds_what_it_should(tmp_path):
    for name, text in {"model/a.h": "struct gradient;\nstruct pool;\nstruct cJSON;\n",
                       "train/grad/b.c": "struct gradient {\n};\n",
                       "base/pool.c": "struct pool {\n};\n"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert foreign_types(tmp_path) == ["model/a.h: struct gradient is of train/grad"]
