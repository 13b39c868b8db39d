"""The front door, `./alpaca`, in a world of fakes.

Each test copies the script into a folder of its own, with a Makefile that "builds" programs which
print how they were called, and a PATH that holds only a few real tools and fakes of the rest:
package managers that write down their arguments and then make tools appear.
"""
import os
import pathlib
import shutil
import subprocess

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "alpaca"
REAL_TOOLS = ["cat", "dirname", "env", "head", "make", "ln", "mkdir", "mv", "readlink", "rm", "sed",
              "tr", "chmod", "touch", "wc"]
LIBRARIES = ["libmicrohttpd", "libcjson", "openblas", "cmocka"]

MAKEFILE = r"""
build/release/%:
	@mkdir -p build/release
	@echo "made $@ jobs $(CONFIG)" >> made.log
	@printf '#!/bin/sh\necho "program $*"\nfor a; do echo "<$$a>"; done\n' > $@
	@chmod +x $@
tests:
	@mkdir -p build/release/tests
	@echo "made tests" >> made.log
.PHONY: tests
"""


class World:
    """A machine with its own commands, packages and user."""

    def __init__(self, folder):
        self.repo = folder / "the repo"
        self.bin = folder / "bin"
        self.libraries = folder / "libraries"
        self.log = folder / "managers.log"
        for made in (self.repo, self.bin, self.libraries):
            made.mkdir()
        shutil.copy(SCRIPT, self.repo / "alpaca")
        (self.repo / "Makefile").write_text(MAKEFILE)
        for tool in REAL_TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        self.sh = shutil.which("dash") or "/bin/sh"
        (self.bin / "sh").symlink_to(self.sh)
        self.fake("uname", "echo Linux")
        self.fake("nproc", "echo 2")
        self.user(0)
        self.variables = {"PYTHON": str(self.bin / "python3")}

    def fake(self, name, body):
        path = self.bin / name
        path.unlink(missing_ok=True)
        path.write_text(f"#!{self.sh}\n{body}\n")
        path.chmod(0o755)

    def user(self, uid):
        self.fake("id", f"echo {uid}")

    def add_compiler(self):
        self.fake("cc", 'cat >/dev/null; exit 0')

    def add_pkg_config(self):
        self.fake("pkg-config", f'[ "$1" = --exists ] && [ -e "{self.libraries}/$2" ]')

    def add_library(self, *names):
        for name in names:
            (self.libraries / name).touch()

    def add_everything_to_build(self):
        self.add_compiler()
        self.add_pkg_config()
        self.add_library(*LIBRARIES[:3])

    def add_everything_to_test(self):
        self.add_everything_to_build()
        self.add_library("cmocka")
        for name in ("xz", "curl", "chromium", "node", "npm", "link-parser", "g++", "spm_train",
                     "spm_encode", "spm_decode"):
            self.fake(name, "exit 0")
        self.fake("python3", '[ "$2" = "import pytest" ]')

    def add_manager(self, name, brings=True):
        """A package manager that writes down its arguments and brings all that is needed."""
        appear = (
            f'printf "#!{self.sh}\\ncat >/dev/null\\n" >"{self.bin}/cc"\n'
            f'printf "#!{self.sh}\\n[ -e \\"{self.libraries}/\\$2\\" ]\\n" '
            f'>"{self.bin}/pkg-config"\n'
            f'chmod +x "{self.bin}/cc" "{self.bin}/pkg-config"\n'
            + "".join(f'touch "{self.libraries}/{lib}"\n' for lib in LIBRARIES)
        )
        self.fake(name, f'echo "{name} $*" >>"{self.log}"\n'
                  '[ "$1" != --prefix ] || { echo /brew; exit; }\n'
                  + (appear if brings else "exit 100"))

    def run(self, *arguments, script=None, cwd="/", **variables):
        return subprocess.run(
            [str(script or self.repo / "alpaca"), *arguments], cwd=cwd, text=True,
            env={"PATH": str(self.bin), "HOME": "/nowhere", **self.variables, **variables},
            stdin=subprocess.DEVNULL, capture_output=True)

    def managers(self):
        return self.log.read_text().splitlines() if self.log.exists() else []

    def made(self):
        log = self.repo / "made.log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_help_names_every_command(world):
    for arguments in ((), ("help",), ("--help",), ("-h",)):
        result = world.run(*arguments)
        assert result.returncode == 0
        for command in ("serve", "tell", "eval", "train", "test"):
            assert f"./alpaca {command}" in result.stdout


def test_unknown_command_is_a_usage_error(world):
    result = world.run("sreve")
    assert result.returncode == 2
    assert "no such command: sreve" in result.stderr
    assert result.stdout == ""


def test_nothing_missing_means_no_package_manager_and_one_build(world):
    world.add_everything_to_build()
    world.add_manager("apt-get")
    first, second = world.run("serve"), world.run("serve")
    assert first.returncode == 0 and second.returncode == 0, first.stderr + second.stderr
    assert "program " in first.stdout
    assert world.managers() == []
    assert world.made() == ["made build/release/alpaca-server jobs release"]
    assert second.stderr == ""


def test_options_arrive_as_they_were_typed(world):
    world.add_everything_to_build()
    result = world.run("tell", "--temperature", "0.5", "once  upon a *", "", "it's $HOME")
    assert result.stdout.splitlines()[-5:] == [
        "<--temperature>", "<0.5>", "<once  upon a *>", "<>", "<it's $HOME>"]


def test_works_through_a_link_and_from_any_folder(world, tmp_path):
    world.add_everything_to_build()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "one").symlink_to("../the repo/alpaca")
    (tmp_path / "two").symlink_to(tmp_path / "links" / "one")
    result = world.run("tell", "hello", script=tmp_path / "two", cwd=tmp_path / "links")
    assert result.returncode == 0, result.stderr
    assert "<hello>" in result.stdout


@pytest.mark.parametrize("manager, expected", [
    ("apt-get", ["gcc", "libc6-dev", "pkg-config", "libmicrohttpd-dev", "libcjson-dev",
                 "libopenblas-dev"]),
    ("dnf", ["gcc", "glibc-devel", "pkgconf-pkg-config", "libmicrohttpd-devel", "cjson-devel",
             "openblas-devel"]),
    ("apk", ["gcc", "musl-dev", "pkgconf", "libmicrohttpd-dev", "cjson-dev", "openblas-dev"]),
    ("brew", ["pkgconf", "libmicrohttpd", "cjson", "openblas"])])
def test_each_package_manager_is_asked_for_its_own_names(world, manager, expected):
    world.add_manager(manager)
    result = world.run("serve")
    assert result.returncode == 0, result.stderr
    [line] = [line for line in world.managers() if "libmicrohttpd" in line]
    assert line.split()[-len(expected):] == expected
    # It says so before it does it, and keeps standard output for the program.
    assert "missing: compiler pkg-config libmicrohttpd libcjson openblas" in result.stderr
    assert "running: " in result.stderr and line.split(" ", 1)[1] in result.stderr
    assert result.stdout.startswith("program ")


def test_only_what_is_missing_is_installed(world):
    world.add_everything_to_build()
    (world.libraries / "libcjson").unlink()
    world.add_manager("apt-get")
    assert world.run("serve").returncode == 0
    update, install = world.managers()
    assert "update" in update
    assert install.endswith("--no-install-recommends libcjson-dev")


@pytest.mark.parametrize("helper", ["sudo", "doas"])
def test_other_users_get_help_from_sudo_or_doas(world, helper):
    world.add_manager("apt-get")
    world.user(1000)
    world.fake(helper, f'echo "{helper} $*" >>"{world.log}"\nexec "$@"')
    result = world.run("serve")
    assert result.returncode == 0, result.stderr
    assert [line.split()[:2] for line in world.managers() if line.startswith(helper)] == [
        [helper, "apt-get"], [helper, "env"]]


def test_brew_is_never_run_by_root_helpers(world):
    world.add_manager("brew")
    world.user(501)
    world.fake("sudo", f'echo "sudo $*" >>"{world.log}"')
    assert world.run("serve").returncode == 0
    assert not any(line.startswith("sudo") for line in world.managers())


def test_without_rights_it_says_what_root_should_run(world):
    world.add_manager("apt-get")
    world.user(1000)
    result = world.run("serve")
    assert result.returncode == 1
    assert "as root, run: apt-get install" in result.stderr and "libcjson-dev" in result.stderr
    assert world.managers() == [] and world.made() == []


def test_without_a_package_manager_it_says_what_is_missing(world):
    result = world.run("serve")
    assert result.returncode == 1
    assert "missing: compiler pkg-config libmicrohttpd libcjson openblas" in result.stderr
    assert world.made() == []


def test_a_failing_package_manager_ends_it(world):
    world.add_manager("apt-get", brings=False)
    result = world.run("serve")
    assert result.returncode == 1
    assert "still missing: compiler" in result.stderr
    assert world.made() == []


def test_a_failing_build_ends_it(world):
    world.add_everything_to_build()
    (world.repo / "Makefile").write_text("build/release/alpaca-server:\n\t@exit 3\n")
    result = world.run("serve")
    assert result.returncode != 0
    assert "program" not in result.stdout


def test_gcc_without_headers_counts_as_missing(world):
    world.add_everything_to_build()
    world.fake("cc", "cat >/dev/null; exit 1")
    world.add_manager("apt-get")
    world.run("serve")
    assert any(line.endswith("gcc libc6-dev") for line in world.managers())


def test_another_compiler_is_found_and_used(world):
    world.add_everything_to_build()
    (world.bin / "cc").rename(world.bin / "clang")
    (world.repo / "Makefile").write_text(
        MAKEFILE.replace("jobs $(CONFIG)", "with $(CC)"))
    assert world.run("serve").returncode == 0
    assert world.made() == ["made build/release/alpaca-server with clang"]


def test_tests_are_built_and_run_with_their_arguments(world):
    world.add_everything_to_test()
    world.add_manager("apt-get")
    (world.repo / "tests").mkdir()
    runner = world.repo / "tests" / "run.sh"
    runner.write_text(f'#!{world.sh}\necho "$PYTHON"; for a; do echo "<$a>"; done; exit 7\n')
    runner.chmod(0o755)
    result = world.run("test", "c", "browser")
    assert result.returncode == 7, result.stderr
    assert result.stdout.splitlines() == [
        str(world.bin / "python3"), f"<{world.repo}/build/release>", "<c>", "<browser>"]
    assert world.made() == ["made tests"]
    assert world.managers() == []


def test_tests_go_on_without_a_browser_but_say_so(world):
    world.add_everything_to_test()
    (world.bin / "chromium").unlink()
    world.add_manager("apt-get", brings=False)
    (world.repo / "tests").mkdir()
    runner = world.repo / "tests" / "run.sh"
    runner.write_text(f"#!{world.sh}\necho ran\n")
    runner.chmod(0o755)
    result = world.run("test")
    assert result.stdout == "ran\n"
    assert "going on without: chromium" in result.stderr


def test_training_without_a_step_explains_the_steps(world):
    result = world.run("train")
    assert result.returncode == 0
    for step in ("prepare", "vocabulary", "fit", "evaluate"):
        assert f"./alpaca train {step}" in result.stdout
    assert world.made() == []


def test_prepare_takes_the_shipped_stories_unless_others_are_named(world):
    world.add_everything_to_build()
    world.fake("xz", "exit 0")
    lines = world.run("train", "prepare").stdout.splitlines()
    assert lines[1:5] == ["<prepare>", f"<{world.repo}/data/tinystories-train.jsonl.xz>",
                          f"<{world.repo}/data/tinystories-more.jsonl.xz>", "<--valid>"]
    assert lines[-2:] == ["<--out>", f"<{world.repo}/build/data>"]
    lines = world.run("train", "prepare", "mine.txt", "--out", "here").stdout.splitlines()
    assert lines[1:] == ["<prepare>", "<mine.txt>", "<--out>", "<here>"]


def test_other_training_steps_go_to_the_trainer(world):
    world.add_everything_to_build()
    lines = world.run("train", "fit", "--preset", "mini").stdout.splitlines()
    assert lines[1:] == ["<fit>", "<--preset>", "<mini>"]


def test_the_evaluation_is_the_report_unless_a_part_is_named(world):
    world.add_everything_to_build()
    world.add_manager("apt-get")
    for name in ("xz", "link-parser"):
        world.fake(name, "exit 0")
    assert world.run("eval").stdout.splitlines()[1:] == ["<report>"]
    lines = world.run("eval", "choices", "--model", "mine").stdout.splitlines()
    assert lines[1:] == ["<choices>", "<--model>", "<mine>"]
    assert world.managers() == []


def test_the_vocabulary_is_learnt_by_spm_train(world, tmp_path):
    for name in ("spm_encode", "spm_decode"):
        world.fake(name, "exit 0")
    world.fake("spm_train", f'for a; do echo "$a" >>"{world.log}"; done\n'
               'cat vocab.txt >tokenizer.model; echo more >tokenizer.vocab')
    (tmp_path / "text").write_text("a story\n")
    result = world.run("train", "vocabulary", "text", "out.model", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out.model").read_text() == "a story\n"
    assert not list(tmp_path.glob("out.model.new*"))
    for flag in ("--input=vocab.txt", "--model_prefix=tokenizer", "--model_type=bpe",
                 "--vocab_size=4000", "--unk_id=0", "--bos_id=1", "--eos_id=2", "--pad_id=3",
                 "--normalization_rule_name=nmt_nfkc_cf"):
        assert flag in world.managers()


def test_no_text_for_the_vocabulary_is_a_clear_error(world):
    result = world.run("train", "vocabulary")
    assert result.returncode == 1
    assert "no such text" in result.stderr


def test_a_failed_spm_train_leaves_the_old_vocabulary(world, tmp_path):
    for name in ("spm_encode", "spm_decode"):
        world.fake(name, "exit 0")
    world.fake("spm_train", "exit 1")
    (tmp_path / "text").write_text("a story\n")
    (tmp_path / "out.model").write_text("old")
    assert world.run("train", "vocabulary", "text", "out.model", cwd=tmp_path).returncode != 0
    assert (tmp_path / "out.model").read_text() == "old"


def test_a_text_too_small_for_the_vocabulary_is_named(world, tmp_path):
    for name in ("spm_encode", "spm_decode"):
        world.fake(name, "exit 0")
    world.fake("spm_train", "echo 'Internal: [] Vocabulary size too high (4000). "
               "Please set it to a value <= 63.' >&2; exit 1")
    (tmp_path / "text").write_text("a story\n")
    result = world.run("train", "vocabulary", "text", "out.model", cwd=tmp_path)
    assert result.returncode == 1
    assert "enough for 63 pieces at most, and the models have 4000" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if "out" in path.name) == []


def test_what_is_no_text_for_the_vocabulary_is_named(world, tmp_path):
    (tmp_path / "wide").write_bytes("a story\n".encode("utf-16"))
    for name, words in (("wide", "no text in UTF-8 (is it UTF-16?)"), (".", "is a folder")):
        result = world.run("train", "vocabulary", name, "out.model", cwd=tmp_path)
        assert result.returncode == 1 and words in result.stderr


def test_the_vocabulary_does_not_replace_its_text(world, tmp_path):
    for name in ("spm_encode", "spm_decode"):
        world.fake(name, "exit 0")
    world.fake("spm_train", "echo vocabulary > tokenizer.model")
    (tmp_path / "text").write_text("a story\n")
    result = world.run("train", "vocabulary", "text", "./text", cwd=tmp_path)
    assert result.returncode == 1 and "./text is the text itself" in result.stderr
    assert (tmp_path / "text").read_text() == "a story\n"


def test_the_script_is_portable_shell():
    dash = shutil.which("dash")
    if dash:
        assert subprocess.run([dash, "-n", SCRIPT]).returncode == 0
    if shutil.which("shellcheck"):
        checked = subprocess.run(["shellcheck", str(SCRIPT),
                                  str(SCRIPT.parent / "tests" / "run.sh")],
                                 capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout
    assert os.access(SCRIPT, os.X_OK)
