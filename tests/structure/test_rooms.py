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
              "train/optim", "train/cuda"},
    "train/data": {"base", "tokenizer", "train/data"},
    "train/grad": {"base", "model", "model/kernels", "train/optim", "train/grad"},
    "train/optim": {"base", "model", "model/kernels", "train/optim"},
    # Behind train/device.h, whose interface it fulfills.
    "train/cuda": {"base", "model", "model/kernels", "train", "train/grad", "train/optim",
                   "train/cuda"},
    "server": {"base", "tokenizer", "model", "model/kernels", "engine", "server", "server/http",
               "server/api"},
    "server/http": {"base", "server", "server/http", "server/api"},
    "server/api": {"base", "tokenizer", "model", "engine", "server", "server/api"},
    "cli": {"base", "tokenizer", "model", "engine", "cli"},
    "evaluation": {"base", "tokenizer", "model", "engine", "train/data", "evaluation"},
    "web": {"base", "tokenizer", "model", "engine", "web"},
}

# Header (a pattern) -> the only files of the rooms above that may include it.
ONLY_IN = {
    "microhttpd.h": ["server/http/*.[ch]"],
    # Where JSON is read or written.
    "*cJSON.h": ["model/safetensors_*.c", "model/weights.c", "train/data/story_json.c",
                 "train/training_log.c", "server/api/*.c", "evaluation/*.c"],
    "mpi.h": ["train/ranks_mpi.c"],
    "cblas.h": ["model/blas.c"],
    "openblas_config.h": ["model/blas.c"],
    "*intrin.h": ["model/kernels/*.[ch]"],
    "arm_*.h": ["model/kernels/*.[ch]"],
    "wasm_*.h": ["model/kernels/*.[ch]"],
    "cu*Lt.h": ["train/cuda/*.cu"],
    "cuda_*.h": ["train/cuda/*", "train/device.c"],
    "cmocka.h": [],
}

MAX_LINES = 600
CODE = ["*.c", "*.h", "*.cu"]
SOURCE_NAMES = ["*.c", "*.h", "*.cu", "*.py", "*.sh", "*.js", "*.mjs", "*.css", "*.html", "alpaca",
                "Makefile"]
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
    for name, text in sources(root, CODE):
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
                        place = " ".join(allowed) or "tests"
                        found.append(f"{name}: {header} belongs into {place}")
    return found


def foreign_types(root):
    """One line for each type that a header declares and only a room that it may not include has."""
    homes, found = {}, []
    for name, text in sources(root, CODE):
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
    rooms = {name.split("/")[0] for name, _ in sources(ROOT, CODE)}
    assert rooms - {"tests", "bench"} <= set(MAY_INCLUDE)
    assert {"base", "engine", "tokenizer", "model"} <= rooms


def test_files_stay_small():
    long = [f"{name}: {text.count(chr(10))} lines" for name, text in sources(ROOT, SOURCE_NAMES)
            if text.count("\n") > MAX_LINES]
    assert long == []


# What a header's opening comment promises. Ownership is for headers that hand out or hold memory:
# they declare a struct with a pointer in it, or a function that frees something.
THREAD_SAFETY = re.compile(r"\b([Tt]hreads?|caller at a time)\b")
OWNERSHIP = re.compile(
    r"\b([Oo]wn(s|ed|er|ership)?|[Bb]orrow(s|ed)?|belongs? to|holds? no memory)\b")
HANDS_OUT_MEMORY = re.compile(r"^struct \w+ {[^}]*\*|_(free|destroy|close|release)\(", re.MULTILINE)


def header_faults(root):
    """One line for each promise that a header does not keep."""
    found = []
    for path, text in sources(root, ["*.h"]):
        opening = re.match(rf"/\* {path.split('/')[-1]} - (\S+ \S+ \S+.*?)\*/", text, re.DOTALL)
        if not opening:
            found.append(f"{path}: does not open with its name and purpose")
            continue
        code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        if not THREAD_SAFETY.search(opening[1]):
            found.append(f"{path}: the opening comment says nothing of threads")
        if HANDS_OUT_MEMORY.search(code) and not OWNERSHIP.search(opening[1]):
            found.append(f"{path}: the opening comment does not say who owns what")
    return found


def test_headers_say_what_they_are_for_who_owns_what_and_who_may_call():
    assert header_faults(ROOT) == []


def test_the_headers_check_finds_what_it_should(tmp_path):
    headers = {
        "good.h": "/* good.h - counts what comes. Thread-safe. */\nint good(void);\n",
        "owns.h": "/* owns.h - a list of words.\n *\n * The list owns its words. One thread.\n */\n"
                  "struct words {\n    char **words;\n};\nvoid words_free(struct words *words);\n",
        "silent.h": "#ifndef SILENT_H\n",
        "curt.h": "/* curt.h - words. Thread-safe. */\n",
        "other.h": "/* another.h - counts what comes. Thread-safe. */\n",
        "threads.h": "/* threads.h - counts what comes. */\n/* Thread-safe. */\nint f(void);\n",
        "struct.h": "/* struct.h - a list of words. One thread. */\n"
                    "struct words {\n    int count;\n"
                    "    char **words; /* owned by the list */\n};\n",
        "frees.h": "/* frees.h - a list of words. One thread. */\n"
                   "void words_free(struct words *w);\n",
    }
    for name, text in headers.items():
        (tmp_path / name).write_text(text)
    found = {line.split(":")[0] for line in header_faults(tmp_path)}
    assert found == set(headers) - {"good.h", "owns.h"}


# A declaration or a definition at the start of a line, with its parameters.
FUNCTION = re.compile(r"^(?!return|else|case|typedef)[a-z][\w *]*?\b(\w+)"
                      r"\(((?:[^(){};]|\([^(){};]*\))*)\)"
                      r"\s*(?:__attribute__\(\(.*?\)\)\s*)?[{;]", re.MULTILINE)
MAX_PARAMETERS = 6
# BLAS's own list, and the type of libmicrohttpd's callback.
LONG_LISTS = {"blas_gemm", "http_handle"}


def long_parameter_lists(root):
    found = []
    for name, text in sources(root, CODE):
        if name.startswith(("model/kernels/", "tests/")):
            continue
        code = re.sub(r'/\*.*?\*/|"(?:\\.|[^"\\])*"', "", text, flags=re.DOTALL)
        for function, parameters in FUNCTION.findall(code):
            count = re.sub(r"\([^()]*\)", "", parameters).count(",") + 1
            if count > MAX_PARAMETERS and function not in LONG_LISTS:
                found.append(f"{name}: {function} takes {count} parameters")
    return found


def test_parameter_lists_are_short():
    assert long_parameter_lists(ROOT) == []


def test_the_parameters_check_finds_what_it_should(tmp_path):
    (tmp_path / "a.c").write_text(
        "static void six(int a, int b, void (*call)(int, int), int d,\n"
        "                int e, int f) {\n"
        "    seven(1, 2, 3, 4, 5, 6, 7);\n}\n"
        "enum status seven(int a, int b /* x, y */, int c, int d,\n"
        "                  int e, int f, int g);\n"
        "struct x *eight(int a, int b, int c, int d, void (*call)(int), int f, int g, int h) {\n"
        "}\n")
    assert long_parameter_lists(tmp_path) == ["a.c: seven takes 7 parameters",
                                              "a.c: eight takes 8 parameters"]


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
        "server/api/api_request.c": "#include <microhttpd.h>\n",
        "server/http/daemon.c": "#include <microhttpd.h>\n#include <cjson/cJSON.h>\n",
        "model/attention.c": "#include <immintrin.h>\n",
        "train/fit.c": '#include "server/api/api_request.h"\n',
        "cli/main.c": '#include "train/data/dataset.h"\n',
        "tests/a_test.c": '#include "server/api/api_request.h"\n#include <cmocka.h>\n',
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
