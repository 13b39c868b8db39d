"""What the Makefile builds again, and when; and that the image's build gets all of it.

The builds run in a folder with the Makefile and a handful of empty sources. Their compiler only
writes down how it was called and touches what it should make.
"""
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = ["base/log.c", "model/kernels/avx2.c", "model/kernels/portable.c", "tokenizer/bpe.c",
           "tokenizer/main.c"]
AVX2 = "model/kernels/avx2"
TOKENIZER = "build/release/alpaca-tokenizer"

COMPILER = """#!/bin/sh
[ "$1" != -dumpmachine ] || { echo x86_64-linux-gnu; exit; }
echo "$*" >>calls
while [ "$1" != -o ]; do shift; done
touch "$2"
"""


class Tree:
    def __init__(self, folder):
        self.folder = folder
        shutil.copy(ROOT / "Makefile", folder / "Makefile")
        for name in SOURCES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        (folder / "cc").write_text(COMPILER)
        (folder / "cc").chmod(0o755)

    def make(self, *arguments):
        """The calls of the compiler: what it compiled, and the programs it linked."""
        calls = self.folder / "calls"
        calls.write_text("")
        made = subprocess.run(["make", "-s", "CC=./cc", "PKG_CONFIG=false", *arguments], text=True,
                              cwd=self.folder, env={"PATH": os.environ["PATH"]},
                              capture_output=True)
        assert made.returncode == 0, made.stderr
        self.calls = calls.read_text().splitlines()
        compiled = [call.split()[-1].removesuffix(".c") for call in self.calls if " -c " in call]
        linked = [call.split(" -o ")[1].split()[0] for call in self.calls if " -c " not in call]
        return compiled, linked

    def edit_makefile(self, old, new):
        text = (self.folder / "Makefile").read_text()
        assert old in text
        (self.folder / "Makefile").write_text(text.replace(old, new))


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def all_compiled():
    return sorted(name.removesuffix(".c") for name in SOURCES)


def test_what_is_up_to_date_is_left_alone(tree):
    compiled, linked = tree.make(TOKENIZER)
    assert sorted(compiled) == all_compiled() and linked == [TOKENIZER]
    assert tree.make(TOKENIZER) == ([], [])


def test_asking_for_one_kernel_leaves_the_others_alone(tree):
    tree.make(TOKENIZER)
    (tree.folder / f"{AVX2}.c").touch()
    os.utime(tree.folder / f"{AVX2}.c", (2e9, 2e9))
    assert tree.make(f"build/release/obj/{AVX2}.o") == ([AVX2], [])
    os.utime(tree.folder / f"{AVX2}.c", (1e9, 1e9))
    assert tree.make(TOKENIZER) == ([], [TOKENIZER])


@pytest.mark.parametrize("flags", [[], ["CFLAGS=-O0"]])
def test_only_a_kernel_gets_its_instructions(tree, flags):
    tree.make(TOKENIZER, *flags)
    assert ["-mavx2" in call.split() for call in tree.calls] == \
           [call.endswith(f" {AVX2}.c") for call in tree.calls]


def test_other_compiler_flags_compile_everything(tree):
    tree.make(TOKENIZER)
    compiled, linked = tree.make(TOKENIZER, "CFLAGS=-DX")
    assert sorted(compiled) == all_compiled() and linked == [TOKENIZER]


@pytest.mark.parametrize("old, new", [("-Wshadow", "-Wno-shadow"), ("-fno-math-errno", ""),
                                      ("-mavx2 -mfma", "-mavx2 -mfma -mf16c")])
def test_other_compiler_flags_in_the_makefile_compile_everything(tree, old, new):
    tree.make(TOKENIZER)
    tree.edit_makefile(old, new)
    compiled, linked = tree.make(TOKENIZER)
    assert sorted(compiled) == all_compiled() and linked == [TOKENIZER]


def test_other_linker_flags_link_again_and_compile_nothing(tree):
    tree.make(TOKENIZER)
    assert tree.make(TOKENIZER, "LDFLAGS=-static-libgcc") == ([], [TOKENIZER])
    assert "-static-libgcc" in tree.calls[0].split()
    tree.edit_makefile("-lopenblas -lcjson) -lm", "-lopenblas -lcjson) -lm -ldl")
    assert tree.make(TOKENIZER, "LDFLAGS=-static-libgcc") == ([], [TOKENIZER])


def test_a_file_that_is_gone_leaves_the_library(tree):
    tree.make(TOKENIZER)
    (tree.folder / "base/log.c").unlink()
    assert tree.make(TOKENIZER) == ([], [TOKENIZER])
    members = subprocess.run(["ar", "t", "build/release/libalpaca.a"], cwd=tree.folder, check=True,
                             capture_output=True, text=True).stdout.split()
    assert "bpe.o" in members and "log.o" not in members


def test_an_engine_for_browsers_asks_for_emscripten(tmp_path):
    made = subprocess.run(["make", "web", "EMCC=no-such-emcc", f"BUILD={tmp_path}"], cwd=ROOT,
                          text=True, capture_output=True)
    assert made.returncode != 0
    assert "make web needs Emscripten (Debian: apt-get install emscripten)" in made.stderr
    assert list(tmp_path.iterdir()) == []


def let_through():
    """The names that .dockerignore, which begins by ignoring everything, takes back in."""
    lines = (ROOT / ".dockerignore").read_text().split("\n")
    lines = [line for line in lines if line and not line.startswith("#")]
    assert lines[0] == "*"
    return [line[1:] for line in lines if line.startswith("!")]


def commands(folder):
    """What a build and an installation from nothing would do in `folder`, in words."""
    made = subprocess.run(["make", "-n", "V=1", "BUILD=nothing-here", "all", "install"], cwd=folder,
                          capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    # The record of how programs are linked also names what only tests link.
    return [line for line in made.stdout.splitlines() if not line.startswith("echo ")]


def test_the_image_is_built_from_all_that_a_build_needs(tmp_path):
    for name in let_through():
        (tmp_path / name).symlink_to(ROOT / name)
    assert commands(tmp_path) == commands(ROOT)
    assert (tmp_path / "deploy/alpaca.service").exists()
    included = {line.split('"')[1].split("/")[0] for name in let_through()
                for source in (tmp_path / name).rglob("*.[ch]")
                for line in source.read_text().splitlines() if line.startswith('#include "')}
    assert {"base", "server"} <= included <= set(let_through())
