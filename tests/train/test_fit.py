"""alpaca-train fit, from outside: what it writes, and that no interruption changes or loses it.

ALPACA_KILLS sets how often the kill test kills (a few by default).
"""

import json
import lzma
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("ALPACA_BIN", ROOT / "build/release")) / "alpaca-train"
KILLS = int(os.environ.get("ALPACA_KILLS", "3"))

if not shutil.which("spm_train") and os.environ.get("CI") != "true":
    pytest.skip("needs SentencePiece's spm_train", allow_module_level=True)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A few hundred real stories and a vocabulary of 4000 pieces learned from some more."""
    folder = tmp_path_factory.mktemp("data")
    stories = []
    with lzma.open(ROOT / "data/tinystories-train.jsonl.xz", "rt", encoding="utf-8") as lines:
        for line in lines:
            story = json.loads(line)
            text = story if isinstance(story, str) else story.get("text") or story.get("story")
            stories.append(" ".join(text.split()))
            if len(stories) == 2500:
                break
    (folder / "vocab.txt").write_text("\n".join(stories) + "\n", encoding="utf-8")
    (folder / "train.txt").write_text("\n".join(stories[:300]) + "\n", encoding="utf-8")
    (folder / "valid.txt").write_text("\n".join(stories[300:330]) + "\n", encoding="utf-8")
    subprocess.run(
        ["spm_train", "--input=vocab.txt", "--model_prefix=tokenizer", "--model_type=bpe",
         "--vocab_size=4000", "--normalization_rule_name=nmt_nfkc_cf", "--unk_id=0", "--bos_id=1",
         "--eos_id=2", "--pad_id=3", "--num_threads=2", "--minloglevel=2"],
        cwd=folder, check=True, capture_output=True)
    (folder / "truecase.txt").write_text("truecase 1\n9 w i\n", encoding="utf-8")
    return folder


# Which form --numeric auto takes may differ from run to run, so runs that are compared name theirs.
CPU = Path("/proc/cpuinfo")
HAS_BF16 = CPU.exists() and "avx512_bf16" in CPU.read_text()
NAMED = ["--numeric", "bf16" if HAS_BF16 else "f32"]


# Not the default recipe but a plain one, which the tests vary.
PLAIN = ["--optimizer", "adam", "--schedule", "cosine", "--crop", "0", "--average", "none"]


def command(data, folder, *options, steps=24):
    return [str(BINARY), "fit", "--preset", "small", "--train", str(data / "train.txt"),
            "--valid", str(data / "valid.txt"), "--tokenizer", str(data / "tokenizer.model"),
            "--out", str(folder / "out"), "--run", str(folder / "run"), "--threads", "2",
            "--steps", str(steps), "--batch-tokens", "2000", "--warmup", "4", "--lr", "2e-3",
            "--valid-every", "8", "--log-every", "1", *PLAIN, *NAMED,
            *(o.format(data=data) for o in options)]


def fit(data, folder, *options, steps=24, status=0, **arguments):
    done = subprocess.run(command(data, folder, *options, steps=steps), text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **arguments)
    assert done.returncode == status, done.stdout[-2000:]
    return done.stdout


def evaluate(data, folder, *options):
    """What `evaluate` says of a run's best model on the validation stories."""
    done = subprocess.run([str(BINARY), "evaluate", "--json", "--model", folder / "out", "--data",
                           data / "valid.txt", *options], check=True, capture_output=True)
    return json.loads(done.stdout)


def tensors(path):
    """{name: bytes} and the metadata of a safetensors file."""
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8:8 + size])
    metadata = header.pop("__metadata__", {})
    return {name: raw[8 + size + entry["data_offsets"][0]:8 + size + entry["data_offsets"][1]]
            for name, entry in header.items()}, metadata


CHECKPOINT = Path("run/checkpoint.safetensors")
MODEL = Path("out/model.safetensors")
LOG = Path("run/log.jsonl")


def log(folder):
    lines = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    for line in lines:  # what a clock says differs from run to run
        line.pop("seconds", None)
        line.pop("tokens_per_second", None)
    return lines


def assert_same_run(folder, reference):
    """The same weights bit for bit, the same optimizer state, counters and log."""
    values, metadata = tensors(folder / CHECKPOINT)
    expected, expected_metadata = tensors(reference / CHECKPOINT)
    assert metadata.pop("seconds") and expected_metadata.pop("seconds")
    assert metadata == expected_metadata
    assert values.keys() == expected.keys() and len(values) >= 3
    for name, value in values.items():
        assert value == expected[name], f"{name} differs"
    assert (folder / MODEL).read_bytes() == (reference / MODEL).read_bytes()
    assert log(folder) == log(reference)
    assert not list(folder.rglob("*.tmp"))


RECIPES = {
    "adam": ["--numeric", "f32"],
    "muon": ["--optimizer", "muon", "--weight-decay", "0.1", "--lr", "0.02"],
    "all": ["--optimizer", "muon", "--lr", "0.02", "--average", "ema", "--average-from", "0.3",
            "--average-decay", "0.8", "--schedule", "linear", "--weight-decay", "0.1",
            "--crop", "0.4", "--mix", "{data}/vocab.txt:0.4:0.6"],
}
if HAS_BF16:
    RECIPES["int8"] = [*RECIPES["muon"], "--numeric", "int8"]


class Run:
    """A run that nothing disturbed."""

    def __init__(self, data, folder, options):
        start = time.monotonic()
        self.folder, self.options = folder, options
        self.output = fit(data, folder, *options)
        self.seconds = time.monotonic() - start


@pytest.fixture(scope="session")
def finished(data, tmp_path_factory):
    """finished(recipe) is its Run, made once."""
    runs = {}

    def get(recipe):
        if recipe not in runs:
            runs[recipe] = Run(data, tmp_path_factory.mktemp(recipe), RECIPES[recipe])
        return runs[recipe]

    return get


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_learns_and_writes_what_it_should(finished, recipe):
    run = finished(recipe)
    lines = log(run.folder)
    losses = [line["loss"] for line in lines if "loss" in line]
    valid = [line["valid_loss"] for line in lines if "valid_loss" in line]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 25))
    assert [line["step"] for line in lines if "valid_loss" in line] == [8, 16, 24]
    assert losses[0] > 8 and losses[-1] < losses[0] - 1 and valid[-1] < valid[0]
    assert "done after step 24: best validation loss" in run.output
    assert re.search(r"about \d+m\d\ds on this machine for 24 steps: \S+ s a step, \S+ s a valid",
                     run.output)
    kernels = re.search(r", kernels (.+)$", run.output, re.M)[1].split()
    assert ("and" in kernels) == ("int8" in RECIPES[recipe])
    assert {path.name for path in (run.folder / "out").iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.model", "truecase.txt"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_same_command_gives_the_same_bits(data, finished, tmp_path, recipe):
    fit(data, tmp_path, *RECIPES[recipe])
    assert_same_run(tmp_path, finished(recipe).folder)
    output = fit(data, tmp_path, *RECIPES[recipe])  # once more: a finished run stays as it is
    assert "going on from step 24" in output and "done after step 24" in output
    assert_same_run(tmp_path, finished(recipe).folder)


@pytest.mark.parametrize("recipe", RECIPES)
def test_kills_at_any_moment_change_nothing(data, finished, tmp_path, recipe):
    """kill -9 again and again, then to the end: bit for bit the run that was never killed."""
    reference = finished(recipe)
    seed = int(os.environ.get("ALPACA_SEED", time.time_ns()))
    print(f"ALPACA_SEED={seed}")
    rng = random.Random(seed)
    kills = runs = 0
    while kills < KILLS:
        folder = tmp_path / str(runs)
        folder.mkdir()
        status = None
        while status != 0:
            process = subprocess.Popen(
                command(data, folder, *reference.options, "--checkpoint-every", "0"),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                status = process.wait(timeout=rng.uniform(0, reference.seconds))
            except subprocess.TimeoutExpired:
                process.kill()
                status = process.wait()
            assert status in (0, -signal.SIGKILL)
            kills += status != 0
        assert_same_run(folder, reference.folder)
        shutil.rmtree(folder)
        runs += 1


# GNU timeout sends two signals at once, which are one wish; two of a kind might be seen as one.
@pytest.mark.parametrize("numbers", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGHUP],
                                     [signal.SIGTERM, signal.SIGINT]])
def test_a_signal_leaves_a_checkpoint(data, finished, tmp_path, numbers):
    reference = finished("all")
    process = subprocess.Popen(
        command(data, tmp_path, *reference.options), text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))  # also under nohup
    output = []
    for line in process.stdout:
        output.append(line)
        if line.startswith("step 5/"):
            for number in numbers:
                process.send_signal(number)
    assert process.wait() == 0
    assert "interrupted after step" in output[-1]
    _, metadata = tensors(tmp_path / CHECKPOINT)
    assert f"after step {metadata['step']};" in output[-1] and 5 <= int(metadata["step"]) < 24
    output = fit(data, tmp_path, *reference.options)
    assert f"going on from step {metadata['step']}" in output
    assert_same_run(tmp_path, reference.folder)


@pytest.mark.parametrize("event", ["nohup", "the reader of its output leaves"])
def test_a_run_goes_on_without_its_terminal(data, finished, tmp_path, event):
    reference = finished("all")
    process = subprocess.Popen(
        command(data, tmp_path, *reference.options), text=True, stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=(lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        if event == "nohup" else None)
    for line in process.stderr:
        if line.startswith("step 5/"):
            if event != "nohup":
                break
            process.send_signal(signal.SIGHUP)
    process.stderr.close()
    assert process.wait() == 0
    assert_same_run(tmp_path, reference.folder)


def test_a_folder_serves_one_run_at_a_time(data, tmp_path):
    process = subprocess.Popen(command(data, tmp_path, steps=10**6), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        while not process.stdout.readline().startswith("step 1/"):
            assert process.poll() is None
        assert "another run is using the folder" in fit(data, tmp_path, status=1)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def started(data, tmp_path):
    """A run with a checkpoint at step 6 of what it needs, ready to be disturbed."""
    process = subprocess.Popen(command(data, tmp_path), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in process.stdout:
        if line.startswith("step 6/"):
            process.terminate()
    assert process.wait() == 0
    return tmp_path, (tmp_path / CHECKPOINT).read_bytes()


def test_a_full_disk_keeps_the_last_checkpoint(data, started):
    folder, before = started

    def limit():
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))

    output = fit(data, folder, "--checkpoint-every", "0", "--valid-every", "1000", status=1,
                 preexec_fn=limit)
    assert "cannot write" in output and "checkpoint.safetensors: File too large" in output
    assert (folder / CHECKPOINT).read_bytes() == before
    assert not list(folder.rglob("*.tmp"))
    assert "going on from step" in fit(data, folder)


@pytest.mark.parametrize("size", [0, 7, 300, -1])
def test_a_truncated_checkpoint_is_refused(data, started, size):
    folder, before = started
    broken = before[:size]
    (folder / CHECKPOINT).write_bytes(broken)
    assert str(folder / CHECKPOINT) in fit(data, folder, status=1).splitlines()[-1]
    assert (folder / CHECKPOINT).read_bytes() == broken
    assert "done after step 24" in fit(data, folder, "--fresh")


def test_a_foreign_checkpoint_is_refused(data, started):
    folder, before = started
    for options in (["--seed", "2"], ["--lr", "1e-3"], ["--optimizer", "adamw"]):
        assert "other settings or data" in fit(data, folder, *options, status=1)
    other = folder / "other.txt"
    lines = (data / "train.txt").read_text(encoding="utf-8").splitlines()
    other.write_text("\n".join(reversed(lines)) + "\n", encoding="utf-8")
    assert "other settings or data" in fit(data, folder, "--train", str(other), status=1)
    assert (folder / CHECKPOINT).read_bytes() == before
    shutil.copy(data / "tokenizer.model", folder / CHECKPOINT)
    assert str(folder / CHECKPOINT) in fit(data, folder, status=1)


LONG = {"steps": 64}


@pytest.fixture
def validated(data, tmp_path):
    """A run of LONG that was interrupted after its first validation, and the step of its best."""
    process = subprocess.Popen(command(data, tmp_path, **LONG), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in process.stdout:
        if line.startswith("step 9/"):
            process.terminate()
    assert process.wait() == 0
    _, metadata = tensors(tmp_path / CHECKPOINT)
    assert int(metadata["step"]) < 64 and int(metadata["best_step"]) >= 8
    return tmp_path, metadata["step"], metadata["best_step"]


def test_a_run_that_cannot_go_on_says_which_setting_differs(data, validated, tmp_path_factory):
    folder, other = validated[0], tmp_path_factory.mktemp("other")
    before = (folder / CHECKPOINT).read_bytes(), (folder / MODEL).read_bytes()
    lines = (data / "train.txt").read_text(encoding="utf-8").splitlines()
    (other / "stories").write_text("\n".join(lines[:20]) + "\n", encoding="utf-8")
    model = (data / "tokenizer.model").read_bytes()
    (other / "tokenizer").write_bytes(model + b"\x98\x06\x01")  # the same, with an unknown field
    for options, words in ((("--dropout", "0.2"), "--dropout 0.1 (now 0.2)"),
                           (("--valid", str(other / "stories")), "--valid (other content)"),
                           (("--train", str(other / "stories")), "--train (other content)"),
                           (("--tokenizer", str(other / "tokenizer")),
                            "--tokenizer (other content)"),
                           (("--dtype", "f32"), "--dtype bf16 (now f32)"),
                           (("--crop", "0.5"), "--crop none (now 0.5)"),
                           # More than a message has room for: those that are whole.
                           (("--optimizer", "muon", "--schedule", "linear", "--crop", "0.5",
                             "--average", "ema"), "--crop none (now 0.5), ...; give the same")):
        last = fit(data, folder, *options, status=1, **LONG).splitlines()[-1]
        assert words in last and "--fresh" in last, last
    assert ((folder / CHECKPOINT).read_bytes(), (folder / MODEL).read_bytes()) == before
    shutil.copy(data / "valid.txt", other / "valid.txt")  # the same stories under another name
    assert "done after step 64" in fit(data, folder, "--valid", str(other / "valid.txt"), **LONG)


def test_threads_and_micro_batches_may_change(data, started):
    folder, _ = started
    changed = "--threads 2 (now 1), --micro-tokens 2048 (now 400)"
    output = fit(data, folder, "--threads", "1", "--micro-tokens", "400")
    assert f"sums are rounded otherwise from here on: {changed}" in output
    assert [line["changed"] for line in log(folder) if "changed" in line] == [changed]
    assert "done after step 24" in output


@pytest.mark.skipif(not HAS_BF16, reason="this CPU has only one form to choose")
def test_auto_measures_and_names_its_choice(data, tmp_path):
    output = fit(data, tmp_path, "--numeric", "auto", "--dropout", "0.2")
    choice = re.search(r"--numeric (bf16|f32) is the faster here: .* bf16 came to (\d+) tokens/s, "
                       r"f32 to (\d+)", output)
    form, bf16, f32 = choice[1], int(choice[2]), int(choice[3])
    assert (form == "bf16") == (bf16 > f32) and min(bf16, f32) > 0
    assert f" numeric={form} " in output
    folder = tmp_path / "named"
    folder.mkdir()
    fit(data, folder, "--numeric", form, "--dropout", "0.2")
    assert_same_run(tmp_path, folder)


@pytest.mark.skipif(not HAS_BF16, reason="this CPU has only one form to choose")
@pytest.mark.parametrize("form", ["f32", "bf16", "int8"])
def test_auto_stays_with_the_checkpoints_form(data, tmp_path, form):
    fit(data, tmp_path, "--numeric", form)
    output = fit(data, tmp_path, "--numeric", "auto")
    assert "going on from step 24" in output and f" numeric={form} " in output
    assert "is the faster" not in output


def test_another_out_gets_the_best_weights_so_far(data, validated):
    folder, _, best_step = validated
    best, out, third = (folder / MODEL).read_bytes(), folder / "elsewhere", folder / "third"
    output = fit(data, folder, "--out", str(out), "--valid-every", "1000000", **LONG)
    assert f"copied the best weights so far, of step {best_step}, from {folder / 'out'} to {out}" \
        in output
    assert (folder / MODEL).read_bytes() == best
    # A finished run takes no step, so it has nothing of its own to write.
    output = fit(data, folder, "--out", str(third), **LONG)
    assert f"from {out} to {third}" in output and "done after step 64" in output
    for name in ("config.json", "model.safetensors", "tokenizer.model", "truecase.txt"):
        assert (third / name).read_bytes() == (out / name).read_bytes()
    third.rename(folder / "moved")  # with the weights in it
    output = fit(data, folder, "--out", str(folder / "moved"), **LONG)
    assert "are taken for the best so far" in output


def test_best_weights_that_are_gone_are_chosen_anew(data, validated):
    folder, step, _ = validated
    shutil.rmtree(folder / "out")
    output = fit(data, folder, "--valid-every", "1000000", **LONG)
    assert f"are no longer in {folder / 'out'}; validation begins anew with those of step {step}" \
        in output
    lines = [line for line in log(folder) if "valid_loss" in line][-2:]
    assert [line["step"] for line in lines] == [int(step), 64]
    best = min(lines, key=lambda line: line["valid_loss"])
    assert f"at step {best['step']}, in {folder / 'out'}" in output
    assert evaluate(data, folder)["loss"] == pytest.approx(best["valid_loss"], rel=1e-2)


def test_a_number_that_is_not_finite_stops_the_run(data, started):
    folder, before = started
    _, metadata = tensors(folder / CHECKPOINT)
    at = 8 + struct.unpack("<Q", before[:8])[0] + 4 * 100
    header = json.loads(before[8:at - 400])
    at += header["parameters"]["data_offsets"][0]
    broken = before[:at] + struct.pack("<f", float("nan")) * 64 * 5 + before[at + 4 * 64 * 5:]
    (folder / CHECKPOINT).write_bytes(broken)
    output = fit(data, folder, "--checkpoint-every", "0", status=1)
    assert f"step {int(metadata['step']) + 1} (epoch 1) broke off" in output
    assert "nan: embedding.weight is not finite" in output.splitlines()[-1]
    assert (folder / CHECKPOINT).read_bytes() == broken


def test_an_unusable_folder_is_a_clear_error(data, tmp_path):
    (tmp_path / "file").write_text("")
    for option in ("--out", "--run"):
        output = fit(data, tmp_path, option, str(tmp_path / "file/inside"), status=1)
        assert str(tmp_path / "file") in output.splitlines()[-1]


def test_a_model_that_a_run_reads_is_not_written_over(data, finished, tmp_path):
    """Else no checkpoint could be gone on from: it insists on the weights that were read."""
    read = shutil.copytree(finished("adam").folder / "out", tmp_path / "read")
    (tmp_path / "link").symlink_to(read)
    before = (read / "model.safetensors").read_bytes()
    other = ROOT / "weights/small"
    for options in (["--start", read], ["--teacher", read], ["--teacher", f"{other},{read}"]):
        output = fit(data, tmp_path, *map(str, options), "--out", str(tmp_path / "link"), status=1)
        assert re.search(r"--out: \S+/link is also (--start|a --teacher)", output.splitlines()[-1])
    assert (read / "model.safetensors").read_bytes() == before


def test_paths_may_be_long_and_are_never_cut(data, tmp_path):
    long = tmp_path / "/".join(["x" * 200] * 8)  # 1,600 bytes and more
    fit(data, tmp_path, "--out", str(long / "out"), "--run", str(long / "run"), steps=2)
    assert (long / MODEL).exists() and (long / CHECKPOINT).exists() and (long / LOG).exists()
    for option in ("--out", "--run"):
        longer = tmp_path / f"longer{option}"
        output = fit(data, tmp_path, option, str(longer / "/".join(["y" * 200] * 25)), status=1)
        assert "too long" in output.splitlines()[-1]
        assert not longer.exists()


def test_defaults_are_those_of_the_repository(data, tmp_path):
    """A program in a repository finds and writes its folders from wherever one stands."""
    repository, elsewhere = tmp_path / "repository", tmp_path / "elsewhere"
    for folder in ("build/release", "build/data", "base", "weights", "data"):
        (repository / folder).mkdir(parents=True)
    elsewhere.mkdir()
    program = shutil.copy2(BINARY, repository / "build/release")
    (repository / "base/default_path.c").write_text("")
    (repository / "weights/alpaca").symlink_to(repository / "build/models/small")
    (repository / "data/tinystories-valid.jsonl.xz").symlink_to(
        ROOT / "data/tinystories-valid.jsonl.xz")

    def run(*arguments, status=0):
        done = subprocess.run([program, *arguments], cwd=elsewhere, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              stdin=subprocess.DEVNULL)
        assert done.returncode == status, done.stdout[-2000:]
        assert not list(elsewhere.iterdir())
        return done.stdout

    short = ("fit", "--preset", "small", "--steps", "2", "--batch-tokens", "2000")
    assert f"{repository}/build/data/tokenizer.model" in run(*short, status=1)
    for name in ("train.txt", "valid.txt", "tokenizer.model"):
        shutil.copy(data / name, repository / "build/data")
    run(*short)
    assert (repository / "build/runs/small/checkpoint.safetensors").exists()
    assert "554 stories" in run("evaluate")
    run("grow", "--preset", "small", str(repository / "build/models/small"))
    assert (repository / "build/models/small-grown/model.safetensors").exists()
    shutil.rmtree(repository / "base")  # a program that was installed takes the current folder
    assert "cannot open build/data/train.txt" in run(
        "grow", "--preset", "small", str(repository / "build/models/small"), status=1)


def test_the_best_weights_are_kept(data, tmp_path):
    output = fit(data, tmp_path, "--lr", "0.3", "--warmup", "0", "--final-lr", "1",
                 "--valid-every", "2", "--dtype", "f32", "--numeric", "f32", steps=20)
    valid = {line["step"]: line["valid_loss"] for line in log(tmp_path) if "valid_loss" in line}
    best = min(valid, key=valid.get)
    assert best < max(valid) == 20, valid
    assert f"at step {best}, in" in output
    assert evaluate(data, tmp_path)["loss"] == pytest.approx(valid[best], rel=1e-5)


def test_averaged_weights_are_kept_when_they_are_better(data, tmp_path):
    """At a rate that is far too high the mean of the weights is better than any of them."""
    fit(data, tmp_path, "--lr", "0.15", "--schedule", "linear", "--final-lr", "1", "--average",
        "ema", "--average-from", "0.5", "--numeric", "f32", "--dtype", "f32", steps=40)
    lines = [line for line in log(tmp_path) if "valid_loss" in line]
    assert [line["step"] for line in lines if "average_loss" in line] == [24, 32, 40]
    last = lines[-1]
    assert last["valid_loss"] == last["average_loss"] < last["newest_loss"]
    best = min(line["valid_loss"] for line in lines)
    assert evaluate(data, tmp_path)["loss"] == pytest.approx(best, rel=1e-5)


def test_a_model_learns_from_an_earlier_one(data, finished, tmp_path):
    """From its own weights, with itself as the only teacher, a model stays where it is."""
    folder = finished("adam").folder / "out"
    options = ["--start", str(folder), "--teacher", str(folder), "--teacher-weight", "1",
               "--dropout", "0", "--lr", "1e-5", "--numeric", "f32"]
    fit(data, tmp_path / "a", *options)
    first = evaluate(data, folder.parent)["loss"]
    assert evaluate(data, tmp_path / "a")["loss"] == pytest.approx(first, abs=2e-3)
    # The recipe knows the teacher by its weights, not by its name.
    shutil.copytree(folder, tmp_path / "teacher")
    options[3] = str(tmp_path / "teacher")
    assert "going on from step 24" in fit(data, tmp_path / "a", *options)
    weights = bytearray((folder / MODEL.name).read_bytes())
    weights[-2] ^= 1  # the last number's lowest bit
    (tmp_path / "teacher" / MODEL.name).write_bytes(weights)
    assert "other settings or data" in fit(data, tmp_path / "a", *options, status=1)
    # Ids of other pieces would be learned as if they were the same.
    (tmp_path / "teacher" / "tokenizer.model").write_bytes(b"other pieces")
    for flag in ("--start", "--teacher"):
        assert "is not the tokenizer" in fit(data, tmp_path / "b", flag,
                                             str(tmp_path / "teacher"), status=1)


def test_evaluation_without_the_mask_is_worse(data, finished):
    folder = finished("adam").folder
    masked, unmasked = evaluate(data, folder), evaluate(data, folder, "--unmasked")
    assert masked["tokens"] == unmasked["tokens"]
    assert abs(masked["loss"] - unmasked["loss"]) > 1e-3


def continued(data, model, *options):
    done = subprocess.run([BINARY, "evaluate", "--data", data / "valid.txt", *options, model],
                          check=True, capture_output=True, text=True)
    return done.stdout.strip().split("\n")[-1]


@pytest.mark.parametrize("temperature", ["0", "1"])
def test_a_story_beside_the_figures(data, finished, temperature):
    """It is the one that the engine continues with its cache."""
    folder = finished("adam").folder
    options = ["--temperature", temperature, "--seed", "7"]
    story = continued(data, folder / "out", "--tell", "once upon a time", *options)
    expected = subprocess.run([BINARY.parent / "alpaca-tell", "--quiet", "--numeric", "f32",
                               "--case", "lower", "--model", folder / "out", *options,
                               "once upon a time"],
                              check=True, capture_output=True, text=True)
    assert story.startswith("once upon a time")
    assert story.split() == expected.stdout.split()


def test_a_story_without_the_mask_is_another(data):
    """With more than one layer: what the first makes of a word then depends on what follows."""
    mini, beginning = ROOT / "weights" / "mini", ["--tell", "once upon a time"]
    assert continued(data, mini, *beginning) != continued(data, mini, *beginning, "--unmasked")


def test_a_beginning_that_leaves_no_room(data, finished):
    done = subprocess.run([BINARY, "evaluate", "--data", data / "valid.txt", "--tell", "cat " * 300,
                           finished("adam").folder / "out"], capture_output=True, text=True)
    assert done.returncode == 1 and "at most 254" in done.stderr


def test_batches_smaller_than_a_story(data, tmp_path):
    fit(data, tmp_path, "--batch-tokens", "10", steps=5)
    steps = [line for line in log(tmp_path) if "loss" in line]
    tokens = [b["tokens"] - a["tokens"] for a, b in zip(steps, steps[1:])]
    assert len(steps) == 5 and min(tokens) > 10  # one story each


def test_the_epochs_give_the_steps(data, tmp_path):
    arguments = command(data, tmp_path, "--epochs", "2", "--valid-every", "1000")
    at = arguments.index("--steps")
    done = subprocess.run(arguments[:at] + arguments[at + 2:], check=True, capture_output=True)
    assert b"done after step" in done.stderr
    last = log(tmp_path)[-1]
    first = next(line for line in log(tmp_path) if line["step"] == 1)
    stories = 300
    _, metadata = tensors(tmp_path / CHECKPOINT)
    seen = int(metadata["epoch"]) * stories + int(metadata["story"])
    assert abs(seen / stories - 2) < 0.1 and last["tokens"] > 10 * first["tokens"]
