"""Holds the length of parameter lists: what always travels together is a struct."""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROOMS = ["base", "tokenizer", "model", "engine", "train", "server", "cli", "evaluation", "web"]
MAX_PARAMETERS = 6

# A kernel's operands are pointers, strides and sizes.
KERNELS = "model/kernels/"
# BLAS's own list, and libmicrohttpd's.
GIVEN = {"blas_gemm", "http_handle"}

COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
# A declaration or definition at the start of a line, its parameters with at most one level of
# parentheses inside.
FUNCTION = re.compile(r"^[A-Za-z_][\w \t*]*?\b(\w+)\(((?:[^();{}]|\([^()]*\))*)\)\s*[{;]",
                      re.MULTILINE)


def parameter_count(parameters):
    return 1 + re.sub(r"\([^()]*\)", "", parameters).count(",")


def long_lists(root):
    """One line for each function of the rooms with more parameters than MAX_PARAMETERS."""
    found = []
    for room in ROOMS:
        for path in sorted(path for kind in ["*.[ch]", "*.cu"]
                           for path in (root / room).rglob(kind)):
            name = path.relative_to(root).as_posix()
            if name.startswith(KERNELS):
                continue
            text = COMMENT.sub("", path.read_text(encoding="utf-8"))
            for function, parameters in FUNCTION.findall(text):
                if function not in GIVEN and parameter_count(parameters) > MAX_PARAMETERS:
                    found.append(f"{name}: {function} has {parameter_count(parameters)} parameters")
    return found


def test_functions_take_at_most_six_parameters():
    assert long_lists(ROOT) == []


def test_the_check_finds_what_it_should(tmp_path):
    seven = "int a, int b, int c,\n          int d, void (*e)(int, int), int f, int g"
    files = {
        "model/a.c": f"static int far({seven}) {{\n    return 0;\n}}\n",
        "engine/b.h": f"enum status far({seven}); /* why */\n",
        "model/kernels/c.c": f"void far({seven}) {{\n}}\n",
        "model/d.c": "static struct pair near(int a, int b, int c, int d, void (*e)(int, int), "
                     "int f) {\n}\n",
        "model/e.c": f"/* int far({seven}); */\n"
                     "void f(void) {\n    g(1, 2, 3, 4, 5, 6, 7);\n}\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert [line.split(":")[0] for line in long_lists(tmp_path)] == ["model/a.c", "engine/b.h"]
