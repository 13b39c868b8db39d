"""The process: how it starts, how it fails to start, how it ends."""
import contextlib
import json
import os
import signal
import socket
import subprocess
import time

import pytest
from conftest import BIN, MODEL, ROOT, receive_all


def run(*arguments, **env):
    return subprocess.run([BIN / "alpaca-server", *map(str, arguments)], capture_output=True,
                          text=True, env={**os.environ, **env})


def test_it_says_where_it_is_and_how_to_ask(start):
    server = start()
    lines = [server.process.stdout.readline() for _ in range(2)]
    assert lines[0] == "\n"
    command = lines[1].strip()
    assert command.startswith("curl http://")
    answer = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout)["story"].startswith("once upon a time")


@pytest.fixture
def hangups():
    """Programs start with SIGHUP as usual, also when these tests were started to ignore it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_stop_signal_ends_it_cleanly(start, hangups):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        server = start()
        server.generate(max_tokens=3)
        assert "stopped" in server.stop(number)


def test_it_outlives_its_terminal_when_nohup_starts_it(start, hangups):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    server = start()
    server.process.send_signal(signal.SIGHUP)
    server.generate(max_tokens=3)


@pytest.mark.parametrize("queue", ["64", "4"])  # half of four holds two of the first request's
def test_sigterm_lets_stories_of_begun_requests_finish(start, queue):
    server = start("--slots", "1", "--queue", queue, "--stop-timeout", "3600")
    wish = {"prompt": "the sun", "n": 8, "seed": 4, "temperature": 2}
    expected = server.generate(**wish)["stories"]
    whole = server.send(wish)
    server.until(lambda metrics: metrics["alpaca_requests_running"] == 1)
    stream = server.send({**wish, "stream": True})
    assert stream.recv(12) == b"HTTP/1.1 200"  # its stories wait for those of the first request
    server.process.send_signal(signal.SIGTERM)
    head, _, body = receive_all(whole).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert json.loads(body)["stories"] == expected
    received = receive_all(stream)
    assert received.count(b'"finish_reason"') == 8 and b"data: [DONE]" in received
    log = server.ended()
    assert log.partition("info stopping")[2].count("POST /generate 200 ") == 2
    whole.close()
    stream.close()


def test_a_stop_does_not_wait_for_stories_whose_client_left(start):
    server = start("--slots", "1", "--queue", "2", "--stop-timeout", "3600")
    client = server.send({"n": 32, "temperature": 2, "stream": True})
    assert client.recv(12) == b"HTTP/1.1 200"
    client.close()
    assert "stopped" in server.stop()


def test_stories_that_take_too_long_are_cut_off_with_an_error(start):
    server = start("--stop-timeout", "0", "--slots", "1")
    clients = [server.send({"seed": index, "n": 8, "temperature": 2}) for index in range(3)]
    # Of 24 stories more than 16 are left, so all three requests are there and none is finished.
    server.until(lambda metrics: metrics["alpaca_requests_running"]
                 + metrics["alpaca_requests_waiting"] > 16)
    server.process.send_signal(signal.SIGTERM)
    for client in clients:
        received = receive_all(client)
        assert received.startswith(b"HTTP/1.1 503 ") and b'"code":"stopping"' in received
        client.close()
    server.ended()


def test_a_later_signal_ends_it_at_once(start):
    server = start("--stop-timeout", "3600", "--slots", "1", "--numeric", "f32")
    connection = server.connect()
    # Eight stories one after another: there is work left when the first words come.
    connection.request("POST", "/generate", '{"n": 8, "temperature": 2, "stream": true}')
    connection.getresponse().read(1)
    server.process.send_signal(signal.SIGTERM)
    while "stopping" not in server.log():
        time.sleep(0.01)
    while server.process.poll() is None:  # those within half a second are the same wish
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.01)
    server.ended(expected=128 + signal.SIGTERM)
    connection.close()


def test_a_port_in_use_is_one_clear_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("--port", port, "--model", MODEL)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert f"port {port}" in result.stderr and "in use" in result.stderr


@pytest.mark.parametrize("arguments, expected", [
    (["--model", "/no/such/model"], "--model: cannot open /no/such/model/"),
    (["--draft", "/no/such/model"], "--draft: cannot open /no/such/model/"),
    (["--web", "/no/such/folder"], "--web: cannot open /no/such/folder/web/"),
    (["--host", "no.such.host.invalid"], '--host: cannot listen on "no.such.host.invalid"'),
    (["--cpu", "abacus"], "--cpu must be portable, avx2, avx512 or amx"),
    (["--draft="], "--draft needs a value, FOLDER"), (["--web", ""], "--web needs a value, FOLDER"),
    (["--port", "70000"], "0 to 65535"), (["--slots", "0"], "--slots"),
    (["--log-format", "xml"], "text or json"), (["--nonsense"], "--nonsense"),
    (["extra"], "extra"),
    (["--cors-origin", "app.example"], "such as https://app.example"),
    (["--cors-origin", "https://app.example/"], '--cors-origin is * or one origin'),
    (["--cors-origin", "https://App.example"], '--cors-origin is * or one origin'),
    (["--cors-origin", "https://a.example,https://b.example"], '--cors-origin is * or one'),
    (["--cors-origin", "https://a.example *"], '--cors-origin is * or one origin'),
    (["--api-key-file", "/no/such/keys"], "--api-key-file: cannot open /no/such/keys")])
def test_a_wrong_option_is_one_clear_line(arguments, expected):
    if "--model" not in arguments:
        arguments = [*arguments, "--model", MODEL]
    result = run("--port", 0, *arguments)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1 and expected in result.stderr


def test_no_model_anywhere_is_one_clear_line(tmp_path):
    program = tmp_path / "bin" / "alpaca-server"
    program.parent.mkdir()
    program.write_bytes((BIN / "alpaca-server").read_bytes())
    program.chmod(0o755)
    env = {name: value for name, value in os.environ.items() if name != "ALPACA_MODEL"}
    result = subprocess.run([program, "--port", "0"], cwd=tmp_path, capture_output=True, text=True,
                            env=env)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1 and "--model" in result.stderr


@pytest.mark.parametrize("special", ["config.json", "model.safetensors", "tokenizer.model"])
@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a Git LFS pointer"])
def test_what_stands_in_a_models_place_is_named(tmp_path, special, kind):
    for name in ("config.json", "model.safetensors", "tokenizer.model"):
        if name != special:
            (tmp_path / name).symlink_to(MODEL / name)
    if kind == "a pipe":
        os.mkfifo(tmp_path / special)
    elif kind == "a folder":
        (tmp_path / special).mkdir()
    else:
        (tmp_path / special).write_text("version https://git-lfs.github.com/spec/v1\n"
                                        "oid sha256:4d7a214614ab2935\nsize 12345\n")
    result = run("--port", 0, "--model", tmp_path)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1 and f"{special} is {kind}" in result.stderr


@pytest.mark.parametrize("broken", ["config.json", "model.safetensors", "tokenizer.model"])
@pytest.mark.parametrize("how", ["missing", "empty", "cut", "nonsense"])
def test_a_broken_model_is_one_clear_line(tmp_path, broken, how):
    for name in ("config.json", "model.safetensors", "tokenizer.model"):
        (tmp_path / name).symlink_to(MODEL / name)
    whole = (MODEL / broken).read_bytes()
    (tmp_path / broken).unlink()
    if how != "missing":
        (tmp_path / broken).write_bytes({"empty": b"", "cut": whole[:len(whole) // 2],
                                         "nonsense": b"\xff{[nonsense" * 100}[how])
    result = run("--port", 0, "--model", tmp_path)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert broken in result.stderr


def test_options_come_from_variables_too(start):
    server = start(env={"ALPACA_BODY_BYTES": "300", "ALPACA_ACCESS_LOG": "off"})
    assert server.post("/generate", " " * 301).status == 413
    assert "POST" not in server.stop()


def test_everything_that_a_json_log_says_is_json():
    command = ["sh", "-c", 'ulimit -n 100; exec "$0" "$@"', BIN / "alpaca-server", "--port", "0",
               "--model", MODEL, "--log-format", "json", "--verbose", "--body-bytes", "300"]
    server = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    url = json.loads(server.stdout.readline())["url"]
    host, _, port = url.removeprefix("http://").rpartition(":")
    for request in (b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n{}}",
                    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                    b"GET /%22%0a%ff HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
                    b"GET /" + b"y" * 40000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(request)
            with contextlib.suppress(OSError):  # the server may be done with it by now
                connection.shutdown(socket.SHUT_WR)
                receive_all(connection)
    server.send_signal(signal.SIGTERM)
    output, log = server.communicate()
    assert server.returncode == 0 and output == ""
    lines = [json.loads(line) for line in log.splitlines()]
    assert {"warn", "info", "debug"} <= {line.get("level") for line in lines}
    assert {400, 404} <= {line.get("status") for line in lines}
    assert lines[-1]["message"] == "stopped"
    assert all(line["time"].endswith("Z") for line in lines)


@pytest.mark.parametrize("arguments", [
    ("--port", "-1"), ("nonsense",), ("--nonsense",), ("--model", 'no "such\n folder\udcff'),
    ("--api-key-file", "/no/such/file"), ("--cpu", "abacus"), ("--host", "no.such.host.invalid"),
    ("--health-check", "--port", "1")])
def test_a_json_log_says_in_json_why_it_does_not_start(arguments):
    result = run("--port", "0", "--model", MODEL, *arguments, "--log-format", "json")
    assert result.returncode == 1 and result.stdout == ""
    *_, last = [json.loads(line) for line in result.stderr.splitlines()]
    assert last["level"] == "error" and last["message"]


def test_the_documentation_has_the_table_of_options():
    table = run("--help-markdown")
    assert table.returncode == 0
    assert table.stdout in (ROOT / "docs" / "api.md").read_text()


def test_help_names_every_option():
    result = run("--help")
    assert result.returncode == 0
    for option in ("--host", "--port", "--model", "--threads", "--slots", "--queue", "--body-bytes",
                   "--idle-timeout", "--request-timeout", "--stop-timeout", "--api-key-file"):
        assert option in result.stdout


def test_health_check_tells_by_its_exit_status(start):
    server = start()
    port = server.port
    assert run("--health-check", "--port", port).returncode == 0
    assert run("--health-check", "--host", "0.0.0.0", ALPACA_PORT=str(port)).returncode == 0
    server.stop()
    with pytest.raises(socket.gaierror) as unknown:
        socket.getaddrinfo("no.such.host.invalid", port)
    for host, reason in (("127.0.0.1", "Connection refused"),
                         ("no.such.host.invalid", unknown.value.strerror)):
        result = run("--health-check", "--host", host, "--port", port)
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1
        assert result.stderr.endswith(f"no server at {host} port {port}: {reason}\n")
