"""Thousands of requests of every kind, polite and rude, and what is left of them: nothing.

ALPACA_SOAK_SECONDS is how long it lasts (20); works for sanitizer builds too. The model is a tiny
one made for this, so the time goes into the service and not into arithmetic.
"""
import asyncio
import json
import os
import random
import re
import socket
import struct
import time
from collections import Counter

import pytest
from tiny_model import write_model

SECONDS = float(os.environ.get("ALPACA_SOAK_SECONDS", "20"))
MOST_REQUESTS = 1_000_000
SLOTS, QUEUE, CLIENTS, IDLE = 8, 24, 24, 100
IDLE_TIMEOUT = 4
# Far beyond anything but a request that hangs.
FOREVER = 300

PROMPTS = ["once upon a time", "", "The Dragon", "naïve café 日本語 😀", "a  b\n", "  ", "x" * 200]


class Wire:
    """One connection, without a library's manners: it can leave at any moment."""

    def __init__(self, sock):
        self.sock, self.bytes, self.loop = sock, b"", asyncio.get_running_loop()

    @classmethod
    async def open(cls, server, receive_buffer=None):
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(sock, (server.host, server.port))
        return cls(sock)

    async def send(self, data):
        await self.loop.sock_sendall(self.sock, data)

    async def more(self, most=65536):
        data = await self.loop.sock_recv(self.sock, most)
        if not data:
            raise ConnectionError("the server closed the connection")
        self.bytes += data

    async def take(self, count):
        while len(self.bytes) < count:
            await self.more()
        taken, self.bytes = self.bytes[:count], self.bytes[count:]
        return taken

    async def line(self, end=b"\r\n"):
        while end not in self.bytes:
            await self.more()
        line, self.bytes = self.bytes.split(end, 1)
        return line

    async def answer(self):
        """(status, headers, body) of the next answer, whole."""
        head = (await self.line(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split()[1])
        headers = {name.lower(): value for name, value in
                   (line.split(": ", 1) for line in head[1:])}
        if headers.get("transfer-encoding") != "chunked":
            return status, headers, await self.take(int(headers.get("content-length", 0)))
        body = b""
        while size := int(await self.line(), 16):
            body += await self.take(size)
            assert await self.line() == b""
        assert await self.line() == b""
        return status, headers, body

    def close(self, reset=False):
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def post(path, fields, headers=""):
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
            .encode() + body)


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def folded(text):
    """Stop strings match whatever their case, and half a word may have another case than the
    whole; every character keeps its place."""
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


class Soak:
    def __init__(self, server):
        self.server = server
        self.seen = {}  # what was asked for -> (completion, finish_reason)
        self.count = Counter()

    def fields(self, chance):
        """A request out of few enough that most are made more than once."""
        return {"prompt": chance.choice(PROMPTS), "seed": chance.randrange(20),
                "temperature": chance.choice([0, 0.7, 1.5]),
                "max_tokens": chance.choice([1, 5, 40, 100000])}

    def check(self, fields, completion, finish_reason):
        """A finished story is complete, and the same as every time before."""
        assert finish_reason in ("stop", "length")
        same = self.seen.setdefault(tuple(fields.values()), (completion, finish_reason))
        assert same == (completion, finish_reason), fields
        self.count["stories"] += 1

    async def is_busy(self, status, headers, body):
        if status != 503:
            return False
        assert int(headers["retry-after"]) > 0
        assert json.loads(body)["error"]["code"] == "busy"
        self.count["busy"] += 1
        await asyncio.sleep(0.05)  # a whole second, as Retry-After asks, would be a dull test
        return True

    # ---- the polite ones: connection stays, everything is checked ----

    async def whole(self, wire, chance):
        fields = self.fields(chance)
        await wire.send(post("/generate", fields))
        status, headers, body = await wire.answer()
        if await self.is_busy(status, headers, body):
            return
        assert status == 200, body
        answer = json.loads(body)
        assert answer["story"] == fields["prompt"] + answer["completion"]
        assert answer["usage"]["completion_tokens"] <= fields["max_tokens"]
        self.check(fields, answer["completion"], answer["finish_reason"])

    async def stream(self, wire, chance):
        fields = self.fields(chance)
        await wire.send(post("/generate", {**fields, "stream": True}))
        status, headers, body = await wire.answer()
        if await self.is_busy(status, headers, body):
            return
        assert status == 200, body
        events = [event[len("data: "):] for event in body.decode("utf-8").split("\n\n")[:-1]
                  if not event.startswith(":")]
        assert events.pop() == "[DONE]"
        events = [json.loads(event) for event in events]
        end = events.pop()
        self.check(fields, "".join(event["text"] for event in events), end["finish_reason"])

    async def several(self, wire, chance):
        fields = self.fields(chance)
        n = chance.randrange(2, 9)
        await wire.send(post("/generate", {**fields, "n": n}))
        status, headers, body = await wire.answer()
        if await self.is_busy(status, headers, body):
            return
        assert status == 200, body
        stories = json.loads(body)["stories"]
        assert [story["seed"] for story in stories] == [fields["seed"] + i for i in range(n)]
        for story in stories:
            self.check({**fields, "seed": story["seed"]}, story["completion"],
                       story["finish_reason"])

    async def stopped(self, wire, chance):
        """A stop string out of a story that is known cuts it there."""
        seen = [(key, story) for key, story in self.seen.items() if len(story[0]) > 20]
        if not seen:
            return
        key, (completion, _) = chance.choice(seen)
        start = chance.randrange(len(completion) - 8)
        stop = completion[start:start + chance.randrange(1, 9)]
        if "\0" in stop:  # requests may not have it
            return
        fields = dict(zip(("prompt", "seed", "temperature", "max_tokens"), key), stop=stop)
        await wire.send(post("/generate", fields))
        status, headers, body = await wire.answer()
        if await self.is_busy(status, headers, body):
            return
        assert status == 200, body
        answer = json.loads(body)
        wanted = folded(completion)[:folded(completion).index(folded(stop))]
        assert folded(answer["completion"]) == wanted
        assert answer["finish_reason"] == "stop"
        self.count["stopped"] += 1

    async def other(self, wire, chance):
        request, wanted = chance.choice([
            (get("/health"), (200,)), (get("/ready"), (200, 503)), (get("/"), (200,)),
            (get("/v1/models"), (200,)), (get("/nothing"), (404,)),
            (post("/generate", {"seed": -2}), (400,)), (post("/generate", b"{"), (400,)),
            (post("/tokenize", {"text": "a b c", "pieces": True}), (200,)),
            (get("/v1/models/other"), (404,)),
            (post("/v1/chat/completions", {"messages": []}), (400,)),
            (post("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "n": 2,
                                           "max_tokens": 5, "logprobs": True}), (200,)),
            (post("/generate", b"x" * 100_000), (413,))])
        await wire.send(request)
        status, _, body = await wire.answer()
        # A full queue is noticed before the body is looked at.
        assert status in wanted or (
            b"busy" in body and request.startswith((b"POST /generate", b"POST /v1/chat")))
        self.count["other"] += 1

    async def pipelined(self, wire, chance):
        fields = [self.fields(chance) for _ in range(3)]
        await wire.send(b"".join(post("/generate", each) for each in fields) + get("/health"))
        for each in fields:
            status, headers, body = await wire.answer()
            if not await self.is_busy(status, headers, body):
                answer = json.loads(body)
                self.check(each, answer["completion"], answer["finish_reason"])
        assert (await wire.answer())[0] == 200

    # ---- the rude ones: a connection of their own, left in every state ----

    async def leave_early(self, chance):
        request = post("/generate", {**self.fields(chance), "stream": True})
        wire = await Wire.open(self.server)
        await wire.send(request[:chance.randrange(len(request))])
        await asyncio.sleep(chance.choice([0, 0.01]))
        wire.close(reset=chance.random() < 0.5)

    async def leave_waiting(self, chance):
        wire = await Wire.open(self.server)
        await wire.send(post("/generate", {"max_tokens": 100000, "temperature": 0.5,
                                           "n": chance.randrange(1, 9),
                                           "stream": chance.random() < 0.5}))
        await asyncio.sleep(chance.choice([0, 0.001, 0.01, 0.05]))
        if chance.random() < 0.3:
            wire.sock.shutdown(socket.SHUT_WR)
            await asyncio.sleep(0.01)
        wire.close(reset=chance.random() < 0.5)

    async def leave_streaming(self, chance):
        wire = await Wire.open(self.server)
        await wire.send(post("/generate", {**self.fields(chance), "stream": True,
                                           "n": chance.randrange(1, 4)}))
        wanted = chance.randrange(1, 3000)
        try:
            while len(wire.bytes) < wanted and b"\r\n0\r\n\r\n" not in wire.bytes:
                await wire.more(chance.randrange(1, 500))
                if wire.bytes.startswith(b"HTTP/1.1 503"):
                    break
        finally:
            wire.close(reset=chance.random() < 0.5)

    async def read_slowly(self, chance):
        """Small gulps from a small buffer; what arrives is right all the same."""
        fields = self.fields(chance)
        wire = await Wire.open(self.server, receive_buffer=4096)
        await wire.send(post("/generate", {**fields, "stream": True}))
        for _ in range(20):
            await wire.more(64)
            await asyncio.sleep(0.01)
            if b"\r\n0\r\n\r\n" in wire.bytes or wire.bytes.startswith(b"HTTP/1.1 503"):
                break
        await wire.answer()
        wire.close()

    async def leave_afterwards(self, chance):
        wire = await Wire.open(self.server)
        await self.whole(wire, chance)
        wire.close(reset=chance.random() < 0.5)

    async def flood(self, chance):
        """Twice what there is room for, all at once."""
        async def one(seed):
            wire = await Wire.open(self.server)
            fields = {"prompt": "", "seed": seed, "temperature": 1.5, "max_tokens": 100000}
            await wire.send(post("/generate", fields))
            status, headers, body = await wire.answer()
            wire.close()
            if not await self.is_busy(status, headers, body):
                answer = json.loads(body)
                self.check(fields, answer["completion"], answer["finish_reason"])
        await asyncio.gather(*(one(chance.randrange(20)) for _ in range(2 * (SLOTS + QUEUE))))

    # ---- who does what ----

    async def client(self, index, end):
        chance = random.Random(index)
        polite = [self.whole, self.stream, self.several, self.stopped, self.other, self.pipelined]
        rude = [self.leave_early, self.leave_waiting, self.leave_streaming, self.read_slowly,
                self.leave_afterwards]
        wire, used = await Wire.open(self.server), time.monotonic()
        while time.monotonic() < end and self.count["requests"] < MOST_REQUESTS:
            self.count["requests"] += 1
            if chance.random() < 0.4:
                await asyncio.wait_for(chance.choice(rude)(chance), FOREVER)
                continue
            if time.monotonic() > used + IDLE_TIMEOUT / 4 or chance.random() < 0.05:
                wire.close()
                wire = await Wire.open(self.server)
            await asyncio.wait_for(chance.choice(polite)(wire, chance), FOREVER)
            used = time.monotonic()
        wire.close()

    async def run(self, seconds):
        end = time.monotonic() + seconds
        chance = random.Random(-1)
        idle = [await Wire.open(self.server) for _ in range(IDLE)]
        clients = [asyncio.ensure_future(self.client(index, end)) for index in range(CLIENTS)]
        while time.monotonic() < end and not any(client.done() for client in clients):
            await asyncio.wait_for(self.flood(chance), FOREVER)
            await asyncio.sleep(1)
        await asyncio.gather(*clients)
        for wire in idle:
            wire.close()

    async def everything_is_free(self):
        """As many stories as there are slots and places in the queue, at once: each is answered."""
        async def one(index):
            wire = await Wire.open(self.server)
            await wire.send(post("/generate", {"max_tokens": 3, "seed": index}))
            status, _, body = await wire.answer()
            wire.close()
            return status
        statuses = await asyncio.gather(*(one(index) for index in range(SLOTS + QUEUE)))
        return all(status == 200 for status in statuses)


# ---- what the process holds -------------------------------------------------

def resident_kib(server):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1])


def open_files(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def is_sanitized(server):
    with open(f"/proc/{server.process.pid}/maps", encoding="utf-8") as maps:
        return re.search(r"lib[at]san", maps.read()) is not None


def wait_until(what, condition):
    end = time.monotonic() + FOREVER
    while not condition():
        assert time.monotonic() < end, f"still not so: {what}"
        time.sleep(0.05)


def gauge(server, name):
    return float(re.search(rf"^{name} (\S+)$", server.ask("GET", "/metrics").text, re.MULTILINE)[1])


def wait_for_rest(server, files):
    """Until the server has noticed that everybody is gone."""
    for name in ("alpaca_requests_running", "alpaca_requests_waiting", "alpaca_kv_slots_used"):
        wait_until(f"{name} is 0", lambda: gauge(server, name) == 0)
    wait_until("all connections are closed", lambda: open_files(server) <= files)
    assert server.ask("GET", "/ready").status == 200


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")


@needs_proc
def test_clients_that_leave_behind_their_last_bytes_are_noticed(start, tmp_path):
    server = start("--idle-timeout", 3600, "--request-timeout", 3600,
                   model=write_model(tmp_path / "tiny"))
    files = open_files(server)
    for index in range(40):
        with socket.create_connection((server.host, server.port)) as connection:
            request = post("/generate", {"max_tokens": 1, "seed": index})
            connection.sendall(request[:-index % 20 - 1])
    wait_for_rest(server, files)


@needs_proc
def test_soak(start, tmp_path):
    server = start("--slots", SLOTS, "--queue", QUEUE, "--connections", 1000, "--access-log=off",
                   "--idle-timeout", IDLE_TIMEOUT, model=write_model(tmp_path / "tiny"))
    files = open_files(server)
    soak = Soak(server)
    asyncio.run(soak.run(SECONDS / 4))  # until every thread has had the memory that it keeps
    wait_for_rest(server, files)
    before_kib = resident_kib(server)
    asyncio.run(soak.run(SECONDS * 3 / 4))
    wait_for_rest(server, files)
    after_kib = resident_kib(server)
    print(f"{dict(soak.count)}, {len(soak.seen)} different stories, "
          f"{before_kib} KiB before, {after_kib} KiB after")

    assert asyncio.run(soak.everything_is_free())
    assert soak.count["busy"] > 0 and soak.count["stopped"] > 0
    assert soak.count["stories"] > len(soak.seen)
    if not is_sanitized(server):  # those keep freed memory on purpose
        assert after_kib < before_kib + 4096
    server.stop()
