"""Three servers behind a real HAProxy with deploy/haproxy.cfg, found by DNS as with compose.yaml.

The configuration is used as it is, but for the addresses of the name server and of HAProxy itself,
and a header that says which server an answer came from. The name server is a few lines of this
file; the servers listen on 127.0.0.21, .22 and so on, all with one port, as containers do.
"""
import http.server
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "http"))
from conftest import Server, receive_until  # noqa: E402

SEARCHED = os.environ["PATH"] + ":/usr/sbin"
SMALL = ROOT / "weights/small"
SHORT = {"prompt": "the dragon was", "max_tokens": 40, "seed": 11, "temperature": 0.7}
# Stories that do not end by themselves, one after another: one slot writes them for a while. Half
# of the queue has room for all that are asked for here, so that all of them are in it at once.
LONG = {"prompt": "once upon a time", "n": 16, "seed": 5, "temperature": 1, "stream": True,
        "logit_bias": {"2": -100}}


class Names:
    """A name server that answers every question for addresses (type A) with `addresses`."""

    def __init__(self, addresses):
        self.addresses = list(addresses)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.answer, daemon=True).start()

    def answer(self):
        while True:
            query, client = self.socket.recvfrom(4096)
            end = query.index(b"\0", 12) + 5  # the name, its type and class
            question, kind = query[12:end], query[end - 3]
            addresses = self.addresses if kind == 1 else []
            records = [b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + socket.inet_aton(address)
                       for address in addresses]
            head = query[:2] + struct.pack(">HHHHH", 0x8180, 1, len(records), 0, 0)
            self.socket.sendto(head + question + b"".join(records), client)


class Cluster:
    """HAProxy and its servers, by address."""

    def __init__(self, folder):
        self.servers, self.port = {}, 0
        for last in (21, 22, 23):
            self.add(f"127.0.0.{last}")
        self.names = Names(self.servers)
        with socket.create_server(("127.0.0.1", 0)) as unused:
            self.front = unused.getsockname()[1]
        text = (ROOT / "deploy/haproxy.cfg").read_text()
        for old, new in (("127.0.0.11:53", f"127.0.0.1:{self.names.port}"),
                         ("bind :8080", f"bind 127.0.0.1:{self.front}"),
                         ("alpaca:8080", f"alpaca:{self.port}"),
                         ("balance leastconn", "balance leastconn\n    "
                                               "http-response set-header X-Server %si")):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (folder / "haproxy.cfg").write_text(text)
        self.log_path = folder / "log"
        with open(self.log_path, "w") as log:
            self.haproxy = subprocess.Popen(["haproxy", "-db", "-f", folder / "haproxy.cfg"],
                                            stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            env={**os.environ, "PATH": SEARCHED})
        self.until_served_by(*self.servers)

    def add(self, address):
        self.servers[address] = Server("--host", address, "--port", self.port, "--slots", "1",
                                       "--stop-timeout", "600", "--threads", "1", model=SMALL)
        self.port = self.servers[address].port

    def log(self):
        return self.log_path.read_text()

    def broken(self, since):
        """The servers of the answers that did not end well, from the log's lines after so many:
        whose status is an error, or whose connection the server ended (S...)."""
        lines = re.findall(r" alpaca/(\S+) \S+ (\d+|-1) \d+ - - (\S{4}) ",
                           "\n".join(self.log().splitlines()[since:]))
        return [server for server, status, state in lines if status != "200" or state[0] != "-"]

    def send(self, fields):
        """A connection that has sent a request through HAProxy, and read nothing."""
        connection = socket.create_connection(("127.0.0.1", self.front))
        body = json.dumps(fields).encode()
        connection.sendall(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                           b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        return connection

    def tell(self, fields):
        """A story through HAProxy: status, the address of its server, and the JSON of a 200. Status
        0: the answer broke off."""
        with self.send(fields) as connection:
            answer = receive_rest(connection)
        head, _, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)^content-length: (\d+)\r?$", head, re.M)
        if not length or len(body) != int(length[1]):
            return 0, server_of(head), answer
        status = int(head.split()[1])
        return status, server_of(head), json.loads(body) if status == 200 else body

    def until_served_by(self, *addresses):
        """Waits until answers have come from all of these addresses, and from no other of late."""
        wanted, seen = set(addresses), []
        while set(seen[-3 * len(wanted):]) != wanted:
            assert self.haproxy.poll() is None, self.log()
            try:
                status, address, _ = self.tell({"max_tokens": 1})
            except OSError:  # it does not listen yet
                status = 0
            if status == 200:
                seen.append(address)
            else:
                time.sleep(0.02)

    def until_down(self, server):
        """Waits until HAProxy's last word on a server is that it is down."""
        def states():
            return re.findall(rf"Server alpaca/{server} is (\w+)", self.log())
        while states()[-1:] != ["DOWN"]:
            time.sleep(0.01)

    def stop(self):
        self.haproxy.terminate()
        self.haproxy.wait()
        for server in self.servers.values():
            if not server.log_file.closed:
                server.stop()


def receive_rest(connection):
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def server_of(head):
    found = re.search(rb"(?i)^x-server: (\S+)\r?$", head, re.M)
    return found[1].decode() if found else None


def without_chunks(body):
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        end = int(size or b"0", 16)
        whole += body[:end]
        body = body[end + 2:]
    return whole


def stories(stream):
    """The texts of a stream of several stories; None where it broke off."""
    body = without_chunks(stream.partition(b"\r\n\r\n")[2])
    events = re.findall(rb"^data: (.*)$", body, re.M)
    if not events or events[-1] != b"[DONE]":
        return None
    texts = {}
    for event in map(json.loads, events[:-1]):
        if "text" in event:
            texts[event["index"]] = texts.get(event["index"], "") + event["text"]
    return texts


class LongStories:
    """Streams that are under way, each with the server that it is on."""

    def __init__(self, cluster, count):
        self.streams = []
        for _ in range(count):
            connection = cluster.send(LONG)
            head = receive_until(connection, b"\r\n\r\n")
            self.streams.append((server_of(head), connection, head))

    def on(self, address):
        return [stream for stream in self.streams if stream[0] == address]

    def finish(self):
        """(address, texts or None) of each, when all have ended."""
        results = []
        for address, connection, head in self.streams:
            results.append((address, stories(head + receive_rest(connection))))
            connection.close()
        return results


class ShortStories:
    """Clients that ask for one short story after another until they are stopped."""

    def __init__(self, cluster, clients=6):
        self.cluster, self.over, self.results = cluster, threading.Event(), []
        self.threads = [threading.Thread(target=self.ask) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def ask(self):
        while not self.over.is_set():
            self.results.append(self.cluster.tell(SHORT))

    def until(self, more):
        """Waits for so many more answers."""
        wanted = len(self.results) + more
        while len(self.results) < wanted:
            time.sleep(0.01)

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        return self.results


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if not shutil.which("haproxy", path=SEARCHED):
        if os.environ.get("CI") == "true":
            pytest.fail("no haproxy here, and CI=true")
        pytest.skip("no haproxy here")
    running = Cluster(tmp_path_factory.mktemp("haproxy"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def right():
    """What the stories are, from a server that is in no cluster."""
    server = Server("--slots", "8", model=SMALL)
    with server.send(LONG, headers=b"Connection: close\r\n") as connection:
        long = stories(receive_rest(connection))
    short = server.generate(**SHORT)["story"]
    server.stop()
    assert len(long) == LONG["n"] and all(long.values())
    return {"long": long, "short": short}


# One story of a cluster's life, in this order.

def test_every_replica_tells_the_same_story(cluster, right):
    answers = [cluster.tell(SHORT) for _ in range(9)]
    assert {address for _, address, _ in answers} == set(cluster.servers)
    assert {answer["story"] for _, _, answer in answers} == {right["short"]}


def test_what_a_server_refuses_goes_to_another(cluster, right):
    class Refusing(http.server.BaseHTTPRequestHandler):
        """Says that it is ready, and then refuses every story."""
        ready, refused = 200, 0

        def answer(self, status):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self):
            self.answer(Refusing.ready)

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            Refusing.refused += 1
            self.answer(503)

        def log_message(self, *_):
            pass

    busy = http.server.ThreadingHTTPServer(("127.0.0.30", cluster.port), Refusing)
    threading.Thread(target=busy.serve_forever).start()
    cluster.names.addresses.append("127.0.0.30")
    while Refusing.refused < 3:
        status, address, answer = cluster.tell(SHORT)
        assert (status, answer["story"]) == (200, right["short"]) and address in cluster.servers
    Refusing.ready = 503
    cluster.until_down("alpaca4")
    cluster.names.addresses.remove("127.0.0.30")
    busy.shutdown()
    busy.server_close()


def test_a_killed_server_loses_the_stories_under_way_on_it_and_no_other(cluster, right):
    killed = list(cluster.servers)[0]
    lines = len(cluster.log().splitlines())
    load = ShortStories(cluster)
    load.until(20)
    long = LongStories(cluster, 9)
    assert long.on(killed) and len(long.on(killed)) < 9
    server = cluster.servers.pop(killed)
    server.process.send_signal(signal.SIGKILL)
    server.ended(expected=-signal.SIGKILL)
    load.until(60)
    for address, texts in long.finish():
        assert texts == (None if address == killed else right["long"])
    results = load.stop()
    lost = [result for result in results if result[0] != 200]
    assert {answer["story"] for status, _, answer in results if status == 200} == {right["short"]}
    # HAProxy's log says where the lost ones were: all on one server. Each client had one at most.
    broken = cluster.broken(lines)
    assert len(broken) == len(lost) + len(long.on(killed)), (lost, broken)
    assert len(set(broken)) == 1 and len(lost) <= len(load.threads)
    cluster.names.addresses.remove(killed)


def test_a_server_that_is_asked_to_stop_loses_no_story(cluster, right):
    leaving = list(cluster.servers)[0]
    lines = len(cluster.log().splitlines())
    load = ShortStories(cluster)
    load.until(20)
    long = LongStories(cluster, 6)
    assert long.on(leaving)
    server = cluster.servers.pop(leaving)
    server.process.send_signal(signal.SIGTERM)
    load.until(60)
    assert {texts == right["long"] for _, texts in long.finish()} == {True}
    assert "stopped" in server.ended()
    load.until(60)
    results = load.stop()
    assert {status for status, _, _ in results} == {200}, [r for r in results if r[0] != 200]
    assert {answer["story"] for _, _, answer in results} == {right["short"]}
    assert cluster.broken(lines) == [] and results[-1][1] != leaving
    cluster.names.addresses.remove(leaving)


def test_a_new_server_is_taken_up(cluster, right):
    left = list(cluster.servers)
    cluster.add("127.0.0.24")
    cluster.names.addresses.append("127.0.0.24")
    cluster.until_served_by(*left, "127.0.0.24")
    answers = [cluster.tell(SHORT) for _ in range(6)]
    assert {answer["story"] for _, _, answer in answers} == {right["short"]}
    assert {address for _, address, _ in answers} <= {*left, "127.0.0.24"}


def test_without_a_server_the_answer_is_the_servers_own_kind_of_503(cluster):
    for address in list(cluster.servers):
        cluster.servers.pop(address).stop()
    with cluster.send(SHORT) as connection:
        head, _, body = receive_rest(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert re.search(rb"(?i)^retry-after: 1\r?$", head, re.M)
    assert re.search(rb"(?i)^content-type: application/json\r?$", head, re.M)
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == ("overloaded_error", "busy")
