"""`make install` puts everything in place, and what it installed finds its model from anywhere."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARIES = ROOT / os.environ.get("ALPACA_BIN", "build/release")
PROGRAMS = ["alpaca-server", "alpaca-train", "alpaca-tokenizer", "alpaca-bench", "alpaca-tell",
            "alpaca-eval"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that plays the root of the file system, after make install with a PREFIX; there are
    blanks in the names of both."""
    root = tmp_path_factory.mktemp("root of all")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    # The build under test, whatever its flags: nothing in it may be made again.
    result = subprocess.run(
        ["make", "-s", "-C", ROOT, "-o", "all", "install", f"BUILD={BINARIES.parent}",
         f"CONFIG={BINARIES.name}", f"DESTDIR={root}", "PREFIX=/opt/my alpaca"],
        env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return root / "opt" / "my alpaca"


def test_programs_are_installed(installed):
    assert sorted(path.name for path in (installed / "bin").iterdir()) == sorted(PROGRAMS)
    for name in PROGRAMS:
        assert os.access(installed / "bin" / name, os.X_OK)


def test_the_unit_starts_the_installed_server(installed):
    unit = (installed / "lib" / "systemd" / "system" / "alpaca.service").read_text()
    assert 'ExecStart="/opt/my alpaca/bin/alpaca-server"\n' in unit
    assert "@" not in unit.replace("@system-service", "").replace("@privileged", "").replace(
        "@resources", "")


def test_an_installed_program_tells_a_story_from_anywhere(installed, tmp_path):
    shipped = [path.parent for path in (ROOT / "weights").glob("*/model.safetensors")]
    assert shipped, "no weights in the repository"
    for folder in shipped:
        copy = installed / "share" / "alpaca" / "weights" / folder.name
        assert sorted(os.listdir(copy)) == sorted(os.listdir(folder))
        assert json.loads((copy / "config.json").read_text())["vocab_size"] > 0
    environment = {name: value for name, value in os.environ.items() if name != "ALPACA_MODEL"}
    # Moved as a whole, to show that nothing points back at the source tree.
    moved = tmp_path / "moved"
    shutil.copytree(installed, moved)
    result = subprocess.run([moved / "bin" / "alpaca-tell", "--seed", "1", "--max-tokens", "5",
                             "One day"],
                            cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("One day")
