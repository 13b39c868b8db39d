"""Training by several processes over MPI: the same as by one, whatever happens to them.

Only for a build with MPI=1, and where mpirun is. ALPACA_PLAIN names a build without MPI to compare
with (default build/release).
"""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from test_fit import (BINARY, CHECKPOINT, HAS_BF16, ROOT, assert_same_run, command,  # noqa: F401
                      data, log, tensors)

PLAIN = Path(os.environ.get("ALPACA_PLAIN", ROOT / "build/release")) / "alpaca-train"


def has_mpi(binary):
    return binary.exists() and b"MPI_Init" in binary.read_bytes()


if not has_mpi(BINARY):
    pytest.skip("needs a build with MPI=1", allow_module_level=True)
if not shutil.which("mpirun"):
    pytest.skip("needs Open MPI's mpirun", allow_module_level=True)

# Open MPI wants to be asked twice before root may use it, and once where cores are few.
ENVIRONMENT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
               "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_btl": "self,vader,tcp",
               "OMPI_MCA_btl_vader_single_copy_mechanism": "none"}
NAMED = ["--numeric", "f32", "--threads", "1"]  # a form that every CPU has
MUON = ["--optimizer", "muon", "--weight-decay", "0.1", "--lr", "0.02"]


def mpirun(ranks, arguments):
    return ["mpirun", "-np", str(ranks), "--bind-to", "none", *arguments]


def start(arguments):
    return subprocess.Popen(arguments, env=ENVIRONMENT, text=True, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def run(arguments, status=0):
    process = start(arguments)
    output = process.communicate()[0]
    assert process.returncode == status, output[-3000:]
    return output


def fit(data, folder, ranks, *options, status=0, steps=24):
    return run(mpirun(ranks, command(data, folder, *NAMED, *options, steps=steps)), status)


def valid_losses(folder):
    return [line["valid_loss"] for line in log(folder) if "valid_loss" in line]


@pytest.fixture(scope="module")
def one(data, tmp_path_factory):
    """A run of a single process without MPI."""
    if not PLAIN.exists() or has_mpi(PLAIN):
        pytest.skip(f"needs a build without MPI in {PLAIN.parent}")
    folder = tmp_path_factory.mktemp("one")
    arguments = command(data, folder, *NAMED, *MUON)
    run([str(PLAIN), *arguments[1:]])
    return folder


@pytest.fixture(scope="module")
def two(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    fit(data, folder, 2, *MUON)
    return folder


def test_one_rank_is_the_same_as_no_mpi(data, one, tmp_path):
    fit(data, tmp_path, 1, *MUON)
    assert_same_run(tmp_path, one)


def test_as_many_ranks_give_the_same_bits(data, two, tmp_path):
    fit(data, tmp_path, 2, *MUON)
    assert_same_run(tmp_path, two)


def test_more_ranks_learn_the_same(data, one, two, tmp_path):
    fit(data, tmp_path, 4, *MUON)
    for folder in (two, tmp_path):
        assert valid_losses(folder) == pytest.approx(valid_losses(one), abs=1e-3)
        assert [line["tokens"] for line in log(folder)] == [line["tokens"] for line in log(one)]


def test_teachers_and_averages_are_divided_too(data, one, tmp_path):
    options = [*MUON, "--average", "ema", "--average-from", "0.3", "--average-decay", "0.8",
               "--teacher", str(one / "out"), "--crop", "0.4"]
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        fit(data, folder, ranks, *options)
    assert valid_losses(tmp_path / "2") == pytest.approx(valid_losses(tmp_path / "1"), abs=1e-3)


def processes(folder):
    """The ids of the ranks that train in a folder, by rank."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder) in (entry / "cmdline").read_text() and \
                    os.readlink(entry / "exe") == str(BINARY.resolve()):
                environment = (entry / "environ").read_bytes().split(b"\0")
                rank = next(text for text in environment
                            if text.startswith(b"OMPI_COMM_WORLD_RANK="))
                found[int(rank.split(b"=")[1])] = int(entry.name)
        except OSError:
            pass
    return found


def after_step(process, step):
    """What a run has said until that step."""
    output = []
    for line in process.stdout:
        output.append(line)
        if line.startswith(f"step {step}/"):
            return output
    pytest.fail("ended too early: " + "".join(output[-20:]))


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_the_job_and_others_go_on(data, two, tmp_path, victim):
    process = start(mpirun(2, command(data, tmp_path, *NAMED, *MUON, "--checkpoint-every", "0")))
    after_step(process, 5)
    os.kill(processes(tmp_path)[victim], signal.SIGKILL)
    output = process.communicate()[0]
    assert process.returncode != 0
    assert len(re.findall(rf"process rank {victim} with PID \d+ on node \S+ exited on signal 9",
                          output)) == 1, output
    output = fit(data, tmp_path, 3 if victim else 2, *MUON)
    assert "going on from step" in output and "done after step 24" in output
    changes = [line["changed"] for line in log(tmp_path) if "changed" in line]
    if victim:
        assert changes == ["--np 2 (now 3)"]
        assert valid_losses(tmp_path) == pytest.approx(valid_losses(two), abs=1e-3)
    else:
        assert changes == []
        assert_same_run(tmp_path, two)


@pytest.mark.parametrize("receiver", [0, 1])
def test_a_signal_to_any_rank_leaves_a_checkpoint(data, two, tmp_path, receiver):
    process = start(mpirun(2, command(data, tmp_path, *NAMED, *MUON)))
    after_step(process, 5)
    os.kill(processes(tmp_path)[receiver], signal.SIGTERM)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    assert "interrupted after step" in output
    _, metadata = tensors(tmp_path / CHECKPOINT)
    assert 5 <= int(metadata["step"]) < 24
    fit(data, tmp_path, 2, *MUON)
    assert_same_run(tmp_path, two)


@pytest.mark.skipif(not HAS_BF16, reason="this CPU has only one form to choose")
def test_one_rank_chooses_the_form_for_all(data, tmp_path):
    output = fit(data, tmp_path, 3, "--numeric", "auto", steps=2)
    assert len(re.findall(r"--numeric (?:bf16|f32) is the faster here", output)) == 1
    assert "done after step 2" in output


def errors(output):
    return [line for line in output.splitlines() if line.startswith("alpaca-train")]


def test_an_error_of_all_is_said_once(data, tmp_path):
    output = fit(data, tmp_path, 3, "--valid", str(tmp_path / "none"), status=1)
    assert len(errors(output)) == 1 and "none" in errors(output)[0]
    assert len(errors(fit(data, tmp_path, 3, "--clip", "-1", status=2))) == 1


def test_an_error_of_one_names_its_rank(data, tmp_path):
    good = command(data, tmp_path, *NAMED)
    for options, words in ((["--train", str(tmp_path / "none")], "fit: rank 1: --train: cannot "),
                           (["--seed", "2"], "fit: rank 1: its settings, stories or weights "
                                             "differ from those of rank 0")):
        output = run([*mpirun(1, good), ":", "-np", "1", *good, *options], status=1)
        assert len(errors(output)) == 1 and words in errors(output)[0], output


def test_evaluate_divides_the_stories(data, one):
    arguments = [str(BINARY), "evaluate", "--json", "--threads", "1", "--model", str(one / "out"),
                 "--data", str(data / "train.txt")]
    alone = json.loads(run(arguments))
    assert json.loads(run(mpirun(3, arguments))) == alone
