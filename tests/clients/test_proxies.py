"""The server behind nginx, HAProxy, Caddy and Apache, configured as docs/api.md says.

The configurations are taken from the document's code blocks; only addresses are replaced, and what
the block leaves to the rest of a real configuration is put around it.
"""
import http.client
import os
import queue
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "http"))
from conftest import Server, receive_until  # noqa: E402

PATH = "/stories"
END_OF_EVENTS = b"\n\n\r\n"  # of one or several, and of their chunk
PROGRAMS = {"nginx": "nginx", "haproxy": "haproxy", "caddy": "caddy", "apache": "apache2"}
SEARCHED = os.environ["PATH"] + ":/usr/sbin"  # where Debian has servers


def nginx(block, port, folder):
    (folder / "conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; client_body_buffer_size 1m;\n"
        f"server {{ listen 127.0.0.1:{port};\n{block}}} }}\n")
    return ["nginx", "-p", folder, "-c", folder / "conf"]


def haproxy(block, port, folder):
    (folder / "conf").write_text(block.replace("bind :80", f"bind 127.0.0.1:{port}"))
    return ["haproxy", "-db", "-f", folder / "conf"]


def caddy(block, port, folder):
    (folder / "conf").write_text("{\n    admin off\n}\n"
                                 + block.replace("example.org {",
                                                 f"http://:{port} {{\n    bind 127.0.0.1"))
    return ["caddy", "run", "--config", folder / "conf", "--adapter", "caddyfile"]


def apache(block, port, folder):
    modules = ("mpm_event", "authz_core", "alias", "proxy", "proxy_http")
    lines = [f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in modules]
    (folder / "conf").write_text("\n".join(
        [f"ServerRoot {folder}", f"PidFile {folder}/pid", "ErrorLog /dev/stderr",
         f"ServerName localhost\nListen 127.0.0.1:{port}", *lines, block]))
    return ["apache2", "-f", folder / "conf", "-DFOREGROUND"]


def documented(name):
    """The configuration in docs/api.md."""
    blocks = re.findall(rf"^```{name}\n(.*?)^```$", (ROOT / "docs/api.md").read_text(), re.M | re.S)
    assert len(blocks) == 1, f"docs/api.md has {len(blocks)} blocks for {name}"
    return blocks[0]


class Gate:
    """Stands between proxy and server. Everything passes, but events of a stream are held, as they
    came from the server, until next() lets them go: so those after them have not been sent yet."""

    def __init__(self, server):
        self.server = server
        self.held, self.passing = queue.SimpleQueue(), threading.Semaphore(0)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                inward = self.listener.accept()[0]
            except OSError:  # closed
                return
            outward = socket.create_connection((self.server.host, self.server.port))
            for source, target, holds in ((inward, outward, False), (outward, inward, True)):
                threading.Thread(target=self.pass_on, args=(source, target, holds),
                                 daemon=True).start()

    def pass_on(self, source, target, holds):
        try:
            while piece := source.recv(65536):
                while holds and END_OF_EVENTS in piece:
                    events, end, piece = piece.partition(END_OF_EVENTS)
                    self.held.put(events.rpartition(b"\r\n")[2] + b"\n\n")
                    self.passing.acquire()
                    target.sendall(events + end)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:  # the other side is gone
            pass

    def next(self):
        """Sends the events that are held, or the next that come; their text."""
        events = self.held.get()
        self.passing.release()
        return events

    def close(self):
        self.listener.close()


class Proxy:
    def __init__(self, name, server, folder):
        self.gate = Gate(server)
        with socket.create_server(("127.0.0.1", 0)) as unused:
            self.port = unused.getsockname()[1]
        block = documented(name)
        assert "127.0.0.1:8080" in block
        block = block.replace("127.0.0.1:8080", f"127.0.0.1:{self.gate.port}")
        command = globals()[name](block, self.port, folder)
        self.log = folder / "log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, cwd=folder,
                                            env={**os.environ, "HOME": str(folder),
                                                 "PATH": SEARCHED})
        while not self.listens():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.01)
        assert self.ask("GET", PATH + "/health")[0] == 200, self.log.read_text()

    def listens(self):
        try:
            self.connect().close()
            return True
        except OSError:
            return False

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port))

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            connection.request(method, path, body, {"Host": "example.org", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.gate.close()


@pytest.fixture(scope="module")
def server():
    running = Server("--allow-host", "example.org")
    yield running
    running.stop()


@pytest.fixture(scope="module", params=PROGRAMS)
def proxy(request, server, tmp_path_factory):
    program = PROGRAMS[request.param]
    if not shutil.which(program, path=SEARCHED):
        if os.environ.get("CI") == "true":
            pytest.fail(f"no {program} here, and CI=true")
        pytest.skip(f"no {program} here")
    running = Proxy(request.param, server, tmp_path_factory.mktemp(request.param))
    yield running
    running.stop()


def test_events_of_a_stream_arrive_before_the_next_are_sent(proxy):
    # So hot that the story is long; what is generated while an event is under way comes as one.
    body = b'{"prompt": "the dragon was", "temperature": 2, "seed": 1, "stream": true}'
    with proxy.connect() as connection:
        connection.sendall(b"POST %s/generate HTTP/1.1\r\nHost: example.org\r\n"
                           b"Content-Length: %d\r\n\r\n%s" % (PATH.encode(), len(body), body))
        times, events = 0, b""
        while b"[DONE]" not in events:
            events = proxy.gate.next()
            receive_until(connection, events)
            times += 1
    assert times > 2


def test_the_page_is_under_the_path_with_all_its_files(proxy, server):
    status, _, page = proxy.ask("GET", f"{PATH}/?prompt=a&seed=1")
    assert (status, page) == (200, server.ask("GET", "/").body)
    links = re.findall(rb'(?:src|href)="([^"]+)"', page)
    assert links
    for link in map(bytes.decode, links):
        status, headers, body = proxy.ask("GET", f"{PATH}/{link}")
        direct = server.ask("GET", "/" + link)
        assert (status, body) == (200, direct.body), link
        assert headers["ETag"] == direct.headers["ETag"]
    status, headers, _ = proxy.ask("GET", PATH)
    assert status in (301, 302) and headers["Location"].endswith(PATH + "/")


def test_an_answer_and_its_errors_pass_unchanged(proxy, server):
    requests = [("POST", "/generate", b'{"prompt": "once", "seed": 1, "max_tokens": 5}', 200),
                ("POST", "/generate", b'{"temperature": 7}', 400),
                ("POST", "/generate", b"{", 400),
                ("GET", "/nothing", None, 404),
                ("GET", "/generate", None, 405),
                ("POST", "/generate", b" " * 100000, 413)]
    for method, path, body, expected in requests:
        headers = {"X-Request-Id": "the-same"}
        status, ours, text = proxy.ask(method, PATH + path, body, headers)
        direct = server.ask(method, path, body, headers)
        assert status == direct.status == expected
        if expected == 200:
            text, direct.body = text.split(b'"timings"')[0], direct.body.split(b'"timings"')[0]
        assert text == direct.body
        for name in ("Content-Type", "X-Request-Id", "Allow", "Content-Security-Policy"):
            assert ours[name] == direct.headers[name], name
