"""The world around the programs: closed or full outputs, strange variables, other ways to start."""
import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from conftest import BIN, MODEL, ROOT, Server, receive_all

PROGRAMS = ["alpaca-server", "alpaca-tell", "alpaca-train", "alpaca-tokenizer", "alpaca-bench"]
SANITIZED = any(name in (BIN / "alpaca-server").read_bytes()
                for name in (b"__asan_init", b"__tsan_init"))
TELL = [BIN / "alpaca-tell", "--model", MODEL, "--max-tokens", "3", "--temperature", "0", "--quiet"]
STORY = "once upon a time"


def run(*arguments, **more):
    return subprocess.run(list(map(str, arguments)), capture_output=True, text=True, **more)


def shell(script, *arguments, **more):
    """The arguments are "$@" in the script."""
    return run("sh", "-c", script, "sh", *arguments, **more)


# ---- stories in the terminal -----------------------------------------------------------

def test_the_best_of_several_is_printed_with_its_seed(server):
    """The one that a server picks of the same candidates, and that its seed gives alone."""
    command = [BIN / "alpaca-tell", "--model", MODEL, "--max-tokens", "20", "--temperature", "1"]
    best = run(*command, "--best-of", "5", "--seed", "70", STORY)
    assert best.returncode == 0
    answer = server.generate(prompt=STORY, max_tokens=20, temperature=1, best_of=5, seed=70)
    assert best.stdout == answer["story"] + "\n"
    seed = re.fullmatch(r"\(by \S+ with --seed (\d+)\)\n", best.stderr)[1]
    assert int(seed) == answer["seed"]
    assert run(*command, "--seed", seed, STORY).stdout == best.stdout
    for value in ("0", "17", "x"):
        refused = run(*command, "--best-of", value, STORY)
        assert refused.returncode == 1 and "best-of" in refused.stderr and "16" in refused.stderr


# ---- standard files ------------------------------------------------------------------

@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_standard_files_stay_out_of_the_way(closed):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(["sh", "-c", f'exec "$@" {closed}', "sh", BIN / "alpaca-server",
                                "--model", MODEL, "--port", str(port)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while run(BIN / "alpaca-server", "--health-check", "--port", port).returncode != 0:
        assert process.poll() is None
        time.sleep(0.01)
    files = [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in range(3)]
    assert files == ["/dev/null"] * 3
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stories")
    (folder / "stories.txt").write_text("once upon a time there was a cat.\n" * 3)
    return folder


@pytest.mark.parametrize("output", [">/dev/full", ">&-"])
@pytest.mark.parametrize("command", [
    "alpaca-tell --model {model} --max-tokens 3 --quiet once", "alpaca-tell --help",
    "alpaca-train evaluate {model} --data {folder}/stories.txt",
    "alpaca-train evaluate {model} --data {folder}/stories.txt --json",
    "alpaca-train evaluate {model} --data {folder}/stories.txt --tell once",
    "alpaca-train prepare {folder}/stories.txt --out {folder}/prepared",
    "alpaca-train grow {model} {model} --data {folder}/stories.txt --out {folder}/grown",
    "alpaca-train help", "alpaca-train fit --help",
    "alpaca-tokenizer encode --model {model}/tokenizer.model <{folder}/stories.txt",
    "alpaca-tokenizer info --model {model}/tokenizer.model", "alpaca-tokenizer --help",
    "alpaca-bench model --preset small --tokenizer {model}/tokenizer.model --out {folder}/random",
    "alpaca-bench help", "alpaca-bench serve --help",
    "alpaca-server --help", "alpaca-server --help-markdown"])
def test_output_that_cannot_be_written_is_a_failure(command, output, folder):
    program = command.split()[0]
    command = command.format(model=ROOT / "weights/mini", folder=folder)
    good = shell(f"{BIN}/{command}")
    assert good.returncode == 0, good.stderr
    bad = shell(f"{BIN}/{command} {output}")
    if good.stdout:
        assert bad.returncode == 1
        last = bad.stderr.splitlines()[-1]
        assert last.startswith(f"{program}: cannot write to standard output")
    else:
        assert bad.returncode == 0


def test_a_log_that_nobody_reads_stops_no_server():
    reader, writer = os.pipe()
    server = Server("--log-format", "json", stderr=writer)
    os.set_blocking(writer, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writer, b"\n" * 65536)
    os.set_blocking(writer, True)  # as the server had it
    os.close(writer)
    assert server.generate(prompt=STORY, max_tokens=2)["story"].startswith(STORY)
    for _ in range(20):
        assert server.ask("GET", "/health").status == 200
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait() == 0
    server.process.stdout.close()
    os.close(reader)


# ---- threads -------------------------------------------------------------------------

@pytest.mark.parametrize("program", PROGRAMS)
def test_no_library_starts_threads(program):
    """Where threads are limited, those that nobody needs keep a program from starting."""
    def threads(**variables):
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(writer, b"\n" * 4096)
        os.set_blocking(writer, True)
        env = {name: text for name, text in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
        process = subprocess.Popen([BIN / program, "--help"], stdout=writer,
                                   env={**env, **variables})
        # Until it waits for somebody who reads its help.
        while "pipe" not in Path(f"/proc/{process.pid}/wchan").read_text():
            assert process.poll() is None
            time.sleep(0.01)
        count = len(os.listdir(f"/proc/{process.pid}/task"))
        process.kill()
        process.wait()
        os.close(reader)
        os.close(writer)
        return count

    assert threads() == threads(OPENBLAS_NUM_THREADS="1")


# ---- variables -----------------------------------------------------------------------

def test_the_address_that_kubernetes_sets_is_no_port(start):
    env = {"ALPACA_PORT": "tcp://10.96.0.7:8080", "ALPACA_PORT_8080_TCP_PORT": "8080",
           "ALPACA_PORT_8080_TCP": "tcp://10.96.0.7:8080", "ALPACA_SERVICE_HOST": "10.96.0.7",
           "ALPACA_SERVICE_PORT": "8080"}
    server = start(env=env)
    assert server.host == "127.0.0.1"
    assert server.ask("GET", "/health").status == 200
    warnings = [line for line in server.stop().splitlines() if " warn " in line]
    assert len(warnings) == 1 and "ALPACA_PORT=tcp://10.96.0.7:8080 is ignored" in warnings[0]


# ---- signals -------------------------------------------------------------------------

@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_two_signals_at_once_are_one_wish(start, second):
    """GNU timeout signals the process and then its group with the process in it."""
    server = start("--slots", "1", "--stop-timeout", "3600")
    wish = {"prompt": "the sun", "n": 4, "seed": 4, "temperature": 2}
    expected = server.generate(**wish)["stories"]
    client = server.send(wish)
    server.until(lambda metrics: metrics["alpaca_requests_running"] == 1)
    server.process.send_signal(signal.SIGTERM)
    server.process.send_signal(second)
    head, _, body = receive_all(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert json.loads(body)["stories"] == expected
    client.close()
    server.ended()


# ---- other ways to start -------------------------------------------------------------

@pytest.fixture
def elsewhere(tmp_path):
    """Arguments for subprocess.run: no folder with weights/, and kernels that need a restart."""
    env = {name: text for name, text in os.environ.items() if name != "ALPACA_MODEL"}
    return {"cwd": tmp_path, "env": {**env, "ALPACA_BLAS_CORE": "Nehalem"}}


@pytest.fixture
def loader():
    if SANITIZED:
        pytest.skip("the sanitizers need to be started as usual")
    program = (BIN / "alpaca-tell").read_bytes()
    return re.search(rb"\0(/lib[^\0]*/ld-[^\0]+)\0", program)[1].decode()


def test_it_runs_through_the_dynamic_loader(loader, elsewhere):
    result = run(loader, *TELL[:1], *TELL[3:], "once", **elsewhere)  # finding its weights as well
    assert result.stdout.startswith("once") and result.returncode == 0, result.stderr


def test_it_keeps_the_loader_that_it_was_started_with(loader, start):
    """It may be the only one that finds the libraries, so no restart for other kernels."""
    server = start(prefix=[loader], env={"ALPACA_BLAS_CORE": "Nehalem"})
    assert os.path.samefile(f"/proc/{server.process.pid}/exe", loader)


@pytest.fixture
def without_proc():
    """What to put before a command so that it sees no /proc."""
    prefix = ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh"]
    if SANITIZED or run(*prefix, "true").returncode != 0:
        pytest.skip("cannot hide /proc here")
    return prefix


def test_it_runs_without_proc(without_proc, elsewhere):
    result = run(*without_proc, *TELL[:1], *TELL[3:], "once", **elsewhere)
    assert result.stdout.startswith("once") and result.returncode == 0, result.stderr


def test_metrics_leave_out_what_is_unknown_without_proc(without_proc, start):
    known = {name for name in start().metrics() if name.startswith("process_")}
    server = start(prefix=without_proc)
    assert server.generate(max_tokens=2)["story"]
    metrics = server.metrics()
    left = {name for name in metrics if name.startswith("process_")}
    assert known - left == {"process_open_fds", "process_threads", "process_virtual_memory_bytes",
                            "process_resident_memory_bytes"}
    assert metrics["process_cpu_seconds_total"] > 0


def test_a_containers_health_check_follows_the_port():
    """Here the server is process 1 of a namespace, as in a container, on a port that it chose."""
    prefix = ["unshare", "-Urpf", "--kill-child", "--mount-proc", "sh", "-c"]
    if run(*prefix, "true").returncode != 0:
        pytest.skip("cannot make a container here")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = """
        until "$1" --health-check; do :; done 2>"$3" && echo healthy &
        exec "$1" --model "$2" --port "$4"
    """
    process = subprocess.Popen(list(map(str, [*prefix, script, "sh", BIN / "alpaca-server", MODEL,
                                              os.devnull, port])), stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    assert any(line == "healthy\n" for line in process.stdout)
    process.kill()
    process.wait()
    process.stdout.close()
