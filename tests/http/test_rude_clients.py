"""Clients that leave, dawdle, drip, flood or say nothing must cost the others nothing."""
import json
import re
import resource
import select
import socket
import time

import pytest
from conftest import receive_all, receive_until, together


def reset(connection):
    """Closes with a reset instead of a goodbye."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def ended(metrics):
    """Stories that have ended, in requests that have ended too."""
    return sum(value for name, value in metrics.items() if name.startswith("alpaca_requests_total"))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("leave", [socket.socket.close, reset])
def test_a_client_that_leaves_frees_its_slots_and_its_places(start, stream, leave):
    server = start("--slots", "1", "--numeric", "f32")  # slow enough to be caught at it
    connection = server.send({"n": 8, "temperature": 2, "stream": stream})
    server.until(lambda metrics: metrics["alpaca_requests_running"] == 1)
    leave(connection)
    metrics = server.until_idle()
    # Eight stories to the end would be some two thousand tokens.
    assert metrics["alpaca_generation_tokens_total"] < 1500
    metrics = server.until(
        lambda metrics: metrics['alpaca_requests_total{finished_reason="cancelled"}'] > 0)
    code = "200" if stream else "499"
    assert metrics['http_requests_total{path="/generate",method="POST",code="%s"}' % code] == 1
    assert ended(metrics) == 8
    server.generate(max_tokens=3)
    server.stop()


def test_a_client_that_leaves_while_it_waits_is_forgotten(start):
    server = start("--slots", "1", "--numeric", "f32")
    others = server.occupy(4)
    waiting = server.send({"stream": True, "temperature": 2})
    assert waiting.recv(12) == b"HTTP/1.1 200"
    waiting.close()
    metrics = server.until(
        lambda metrics: metrics['alpaca_requests_total{finished_reason="cancelled"}'] == 1)
    assert metrics["alpaca_requests_waiting"] > 0  # it did not take its turn to notice
    for connection in others:
        connection.close()
    server.until_idle()


def test_a_reader_that_does_not_read_stops_nobody(start):
    server = start("--slots", "4")
    lazy = [server.send({"n": 8, "temperature": 2, "stream": True}) for _ in range(3)]
    for index in range(3):
        assert server.generate(prompt="a hat", seed=index, max_tokens=10)["story"]
    # Their stories are generated to the end all the same.
    server.until_idle()
    for connection in lazy:  # and are all there, once someone reads
        receive_until(connection, b"[DONE]")
        connection.close()


@pytest.mark.parametrize("begun", [b"", b"POST /gen", b"POST /generate HTTP/1.1\r\nHost: x\r\nX: ",
                                   b"POST /generate HTTP/1.1\r\nHost: x\r\n"
                                   b"Content-Length: 50\r\n\r\n"])
@pytest.mark.parametrize("drips", [True, False])
def test_a_slow_sender_is_sent_away(start, begun, drips):
    server = start("--idle-timeout", "1", "--request-timeout", "1")
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(begun)
        connection.settimeout(0.2)
        while True:
            try:
                if connection.recv(4096) == b"":
                    break
            except TimeoutError:
                if drips:
                    try:
                        connection.send(b"a")
                    except (BrokenPipeError, ConnectionResetError):
                        break
            except ConnectionResetError:
                break
    assert server.ask("GET", "/health").status == 200


def test_requests_in_one_packet_are_answered_in_order(server):
    bodies = [json.dumps({"seed": seed, "max_tokens": 3}).encode() for seed in range(4)]
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(b"".join(
            b"POST /generate HTTP/1.1\r\nHost: x\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            for body in bodies) + b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = receive_all(connection)
    answers = [part.partition(b"\r\n\r\n")[2] for part in received.split(b"HTTP/1.1 200 OK")[1:]]
    assert [json.loads(answer)["seed"] for answer in answers[:4]] == [0, 1, 2, 3]
    assert json.loads(answers[4])["status"] == "ok"


def test_connections_have_a_limit_for_each_address(start):
    server = start("--connections-per-address", "2", "--http-threads", "1")
    first = [socket.create_connection((server.host, server.port)) for _ in range(2)]
    for connection in first:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    with socket.create_connection((server.host, server.port)) as third:
        try:
            third.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert third.recv(4096) == b""
        except ConnectionResetError:
            pass
    for connection in first:
        connection.close()


def test_connections_over_the_limit_wait_for_their_turn(start):
    server = start("--connections", "4", "--http-threads", "1")
    first = [server.connect() for _ in range(4)]
    for connection in first:
        connection.connect()
    late = socket.create_connection((server.host, server.port))
    late.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    count = 0
    while count < 4:
        first[0].request("GET", "/metrics")
        count = int(re.search(rb"\nhttp_connections (\d+)\n", first[0].getresponse().read())[1])
    assert count == 4
    assert select.select([late], [], [], 0)[0] == []
    for connection in first:
        connection.close()
    assert late.recv(4096).startswith(b"HTTP/1.1 200")
    late.close()


def test_two_thousand_idle_connections_and_two_hundred_streams(start):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 5000:
        pytest.skip("the system allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 5000), hard))
    server = start("--no-access-log")
    idle = []
    for _ in range(2000):
        idle.append(socket.create_connection((server.host, server.port)))
    server.until(lambda metrics: metrics["http_connections"] >= 2000)

    def ask(index):
        return server.post("/generate", {"prompt": f"{index} stars", "seed": index, "stream": True,
                                         "max_tokens": 20})

    for answer in together(200, ask):
        assert answer.status == 200  # 32 slots and 256 places in the queue are enough for all
        events = answer.events()
        assert events[-1] == "[DONE]" and events[-2]["finish_reason"] in ("stop", "length")
    metrics = server.until_idle()
    assert metrics["http_connections"] >= 2000
    for connection in idle:
        connection.close()
    server.until(lambda metrics: metrics["http_connections"] < 10)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_after_a_storm_of_every_kind_nothing_is_left(start):
    server = start("--slots", "4", "--queue", "16", "--no-access-log")
    expected = {seed: server.generate(prompt="rain", seed=seed, max_tokens=20)["story"]
                for seed in range(8)}

    def storm(index):
        for turn in range(12):
            kind = (index + turn) % 4
            seed = (index * 7 + turn) % 8
            wish = {"prompt": "rain", "seed": seed, "max_tokens": 20}
            if kind == 0:
                server.send({**wish, "max_tokens": 200, "stream": bool(turn % 2)}).close()
            elif kind == 1:
                server.send({**wish, "n": 4, "stream": True}).recv(1)
            else:
                while (answer := server.post("/generate", wish)).status == 503:
                    assert answer.headers["Retry-After"]
                    time.sleep(0.01)
                assert answer.status == 200 and answer.json()["story"] == expected[seed]

    together(12, storm)
    metrics = server.until_idle()
    assert metrics["alpaca_kv_slots_used"] == 0
    for seed in range(8):
        assert server.generate(prompt="rain", seed=seed, max_tokens=20)["story"] == expected[seed]
