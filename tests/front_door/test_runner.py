"""tests/run.sh counts what it ran and never turns a failure into a success."""
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PASSED = "[==========] a: 3 test(s) run.\n[  PASSED  ] 3 test(s).\n"
FAILED = ("[==========] a: 12 test(s) run.\n[  PASSED  ] 10 test(s).\n"
          "[  FAILED  ] a: 2 test(s), listed below:\n[  FAILED  ] one\n[  FAILED  ] two\n\n"
          " 2 FAILED TEST(S)\n")


def runner(out, *kinds, root=ROOT, **variables):
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    result = subprocess.run([root / "tests" / "run.sh", out, *kinds], text=True,
                            env={**environment, **variables}, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return result.returncode, result.stdout.splitlines()


def add_binary(out, name, output, status):
    path = out / "tests" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{output}END\nexit {status}\n")
    path.chmod(0o755)


def add_python(folder, body):
    (folder / "test_it.py").write_text(body)
    return str(folder)


def test_c_results_are_summed(tmp_path):
    add_binary(tmp_path, "a_test", PASSED, 0)
    add_binary(tmp_path, "b_test", PASSED + PASSED + "[  SKIPPED ] 1 test(s), listed below:\n", 0)
    status, lines = runner(tmp_path, "c")
    assert (status, lines[-1]) == (0, "9 passed, 0 failed, 1 skipped")


def test_a_failed_c_test_fails_the_run_and_is_shown(tmp_path):
    add_binary(tmp_path, "a_test", PASSED, 0)
    add_binary(tmp_path, "b_test", FAILED, 2)
    status, lines = runner(tmp_path, "c")
    assert (status, lines[-1]) == (1, "13 passed, 2 failed")
    assert "[  FAILED  ] two" in lines


def test_a_crash_counts_as_a_failure(tmp_path):
    add_binary(tmp_path, "a_test", PASSED, 0)
    add_binary(tmp_path, "b_test", "Segmentation fault\n", 139)
    assert runner(tmp_path, "c")[1][-1] == "3 passed, 1 failed"
    # Such as a leak that is found after all tests passed.
    add_binary(tmp_path, "b_test", PASSED, 1)
    status, lines = runner(tmp_path, "c")
    assert (status, lines[-1]) == (1, "6 passed, 1 failed")


def test_nothing_to_run_is_a_failure(tmp_path):
    (tmp_path / "tests").mkdir()
    assert runner(tmp_path, "c")[0] == 1
    add_binary(tmp_path, "a_test", "", 0)
    assert runner(tmp_path, "c")[0] == 1


def test_parity_fails_with_its_program(tmp_path):
    add_binary(tmp_path, "parity", "all equal\n", 0)
    assert runner(tmp_path, "parity")[1][-1] == "1 passed, 0 failed"
    add_binary(tmp_path, "parity", "gradient differs\n", 1)
    status, lines = runner(tmp_path, "parity")
    assert (status, lines[-1]) == (1, "0 passed, 1 failed")
    assert "gradient differs" in lines


@pytest.mark.parametrize("body, summary, expected", [
    ("def test_a(): pass\ndef test_b(): pass\n", "2 passed, 0 failed", 0),
    ("def test_a(): pass\ndef test_b(): assert 0\n", "1 passed, 1 failed", 1),
    ("import pytest\ndef test_a(): pass\n@pytest.mark.skip\ndef test_b(): pass\n",
     "1 passed, 0 failed, 1 skipped", 0),
    ("import pytest\n@pytest.fixture\ndef f(): 1 / 0\ndef test_a(f): pass\n",
     "0 passed, 1 failed", 1),
    ("not python\n", "0 passed, 1 failed", 1),
    ("", "0 passed, 1 failed", 1)])
def test_python_results_are_counted(tmp_path, body, summary, expected):
    status, lines = runner(tmp_path, add_python(tmp_path, body))
    assert (status, lines[-1]) == (expected, summary)


def test_a_missing_tool_is_loud_and_in_ci_a_failure(tmp_path):
    add_binary(tmp_path, "a_test", PASSED, 0)
    status, lines = runner(tmp_path, "c", "python", PYTHON="/nowhere/python3")
    assert (status, lines[-1]) == (0, "3 passed, 0 failed")
    assert "NOT RUN, for lack of tools: tests" in lines
    status, lines = runner(tmp_path, "c", "python", PYTHON="/nowhere/python3", CI="true")
    assert (status, lines[-1]) == (1, "3 passed, 1 failed")


def add_command(folder, name, script):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize("kind", ["browser", "clients"])
def test_without_the_registry_of_npm_its_tests_are_named_and_in_ci_a_failure(tmp_path, kind):
    (tmp_path / "tests" / kind).mkdir(parents=True)
    (tmp_path / "tests" / kind / "package-lock.json").write_text("{}")
    shutil.copy(ROOT / "tests" / "run.sh", tmp_path / "tests")
    add_binary(tmp_path, "a_test", PASSED, 0)
    commands = tmp_path / "bin"
    for name in ("node", "chromium"):
        add_command(commands, name, "exit 0")
    add_command(commands, "npm", 'echo "$1: self-signed certificate in certificate chain"; exit 1')
    more = {"root": tmp_path, "PATH": f"{commands}:{os.environ['PATH']}"}
    status, lines = runner(tmp_path, "c", kind, **more)
    assert (status, lines[-1]) == (0, "3 passed, 0 failed")
    assert "ci: self-signed certificate in certificate chain" in lines
    assert f"NOT RUN, for lack of tools: {kind}" in lines
    status, lines = runner(tmp_path, "c", kind, CI="true", **more)
    assert (status, lines[-1]) == (1, "3 passed, 1 failed")
    # A registry that answers did not cause the failure.
    add_command(commands, "npm", 'if [ "$1" = ping ]; then exit 0; fi; echo "no such lock"; exit 1')
    status, lines = runner(tmp_path, "c", kind, **more)
    assert (status, lines[-1]) == (1, "3 passed, 1 failed")
    # Once the packages are there, a failure of the tests themselves is one.
    add_command(commands, "npm", 'if [ "$1" = ci ]; then exit 0; fi; echo "# fail 2"; exit 1')
    status, lines = runner(tmp_path, "c", kind, **more)
    assert (status, lines[-1]) == (1, "3 passed, 2 failed")


def test_an_unknown_kind_is_a_failure(tmp_path):
    add_binary(tmp_path, "a_test", PASSED, 0)
    assert runner(tmp_path, "c", "sea")[0] == 1
