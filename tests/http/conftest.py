"""A real server for the tests: started, asked over HTTP, ended with SIGTERM.

ALPACA_BIN names the folder with the binaries (build/release), ALPACA_MODEL the
model folder (weights/alpaca). Works for sanitizer builds too: a report of theirs,
or an exit status other than 0, fails the test.
"""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / os.environ.get("ALPACA_BIN", "build/release")
MODEL = ROOT / os.environ.get("ALPACA_MODEL", "weights/alpaca")


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8")

    def json(self):
        return json.loads(self.body)

    def events(self):
        """The data of a stream of server-sent events; fails on anything else in it."""
        events = []
        assert self.text == "" or self.text.endswith("\n\n")
        for event in self.text.split("\n\n")[:-1]:
            if event.startswith(":"):
                continue
            assert event.startswith("data: "), event
            data = event[len("data: "):]
            events.append(data if data == "[DONE]" else json.loads(data))
        return events


class Server:
    def __init__(self, *options, model=None, env=None, prefix=(), stderr=None):
        # Two ends of one file: reading must not move the place where the server writes.
        self.log_file = tempfile.NamedTemporaryFile("r")
        arguments = [*prefix, BIN / "alpaca-server", "--port", "0", "--model", model or MODEL,
                     *options]
        with open(self.log_file.name, "a") as errors:
            self.process = subprocess.Popen(list(map(str, arguments)), stdout=subprocess.PIPE,
                                            stderr=stderr or errors, text=True,
                                            env={**os.environ, **(env or {})})
        line = self.process.stdout.readline()
        found = re.search(r"http://(\S+):(\d+)", line)
        if not found:
            self.process.wait()
            pytest.fail(f"the server did not start: {line}{self.log()}")
        self.host, self.port = found[1].strip("[]"), int(found[2])
        self.url = found[0]

    def log(self):
        self.log_file.seek(0)
        return self.log_file.read()

    def connect(self):
        return http.client.HTTPConnection(self.host, self.port)

    def ask(self, method, path, body=None, headers=None):
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def post(self, path, body=None, headers=None):
        if not isinstance(body, (bytes, str)):
            body = json.dumps({} if body is None else body)
        if isinstance(body, str):
            body = body.encode("utf-8")
        return self.ask("POST", path, body, headers)

    def generate(self, **fields):
        answer = self.post("/generate", fields)
        assert answer.status == 200, answer.text
        return answer.json()

    def metrics(self):
        """{'name{label="x"}': value} of GET /metrics."""
        lines = self.ask("GET", "/metrics").text.splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def until(self, condition):
        """Waits until condition(metrics) holds; the metrics then."""
        while True:
            metrics = self.metrics()
            if condition(metrics):
                return metrics
            time.sleep(0.01)

    def until_idle(self):
        return self.until(lambda metrics: metrics["alpaca_requests_running"] == 0
                          and metrics["alpaca_requests_waiting"] == 0)

    def send(self, body, path="/generate", headers=b""):
        """A socket that has sent a request and read nothing of the answer."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode("utf-8")
        connection = socket.create_connection((self.host, self.port))
        connection.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n%s"
                           % (path.encode(), len(body), headers, body))
        return connection

    def occupy(self, requests=1, n=8):
        """Sockets of requests that keep the engine busy for long; their streams have begun."""
        sockets = []
        for _ in range(requests):
            sockets.append(self.send({"n": n, "temperature": 2, "stream": True}))
            assert sockets[-1].recv(12) == b"HTTP/1.1 200"
        return sockets

    def stop(self, signal_number=signal.SIGTERM):
        """Ends the server and checks that it ends well."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        return self.ended()

    def ended(self, expected=0):
        """Waits for the end, which a signal has begun already."""
        status = self.process.wait()
        self.process.stdout.close()
        log = self.log()
        self.log_file.close()
        assert "Sanitizer" not in log and "runtime error:" not in log, log
        assert status == expected, f"exit status {status}\n{log}"
        return log


@pytest.fixture(scope="session")
def server():
    """One server for all tests that only ask it things."""
    running = Server()
    yield running
    running.stop()


@pytest.fixture
def start():
    """start(*options) gives a server of one's own; it is stopped at the end of the test."""
    servers = []

    def start_server(*options, **more):
        servers.append(Server(*options, **more))
        return servers[-1]

    yield start_server
    for each in servers:
        if not each.log_file.closed:
            each.stop()


def together(count, action):
    """Runs action(0..count-1) in threads at the same time; their results in order."""
    results = [None] * count
    gate = threading.Barrier(count)

    def run(index):
        gate.wait()
        try:
            results[index] = action(index)
        except BaseException as problem:  # the main thread raises it again
            results[index] = problem

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def receive_all(connection):
    """What arrives until the server closes the connection."""
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def receive_until(connection, end):
    """What arrives up to and including end; fails where the connection ends without it."""
    received = b""
    while end not in received:
        piece = connection.recv(65536)
        assert piece, f"the connection ended after {received[-200:]}"
        received += piece
    return received


def counts(answer):
    """The usage but for what the kv cache happened to have."""
    usage = dict(answer["usage"])
    details = usage.pop("prompt_tokens_details")
    assert list(details) == ["cached_tokens"]
    assert 0 <= details["cached_tokens"] < usage["prompt_tokens"]
    return usage


def error_of(answer):
    """The error object of an answer, after checking its form."""
    assert answer.headers["Content-Type"] == "application/json"
    error = answer.json()["error"]
    assert list(answer.json()) == ["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str) and error["message"]
    assert isinstance(error["type"], str) and isinstance(error["code"], str)
    return error
