"""Streams: the same story as without, whole characters, whole stop strings, errors inside."""
import json
import socket
import subprocess

import pytest
from conftest import counts, receive_all, receive_until


def text_of(events, index=None):
    return "".join(event["text"] for event in events if "text" in event
                   and event.get("index") == index)


def test_a_stream_tells_the_same_story(server):
    wish = {"prompt": "The moon", "seed": 8, "temperature": 1, "max_tokens": 40}
    whole = server.generate(**wish)
    answer = server.post("/generate", {**wish, "stream": True})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["X-Accel-Buffering"] == "no"
    events = answer.events()
    assert events[-1] == "[DONE]"
    last = events[-2]
    assert text_of(events[:-1]) == whole["completion"]
    assert all(set(event) == {"text"} and event["text"] for event in events[:-2])
    assert set(last) == {"finish_reason", "seed", "model", "system_fingerprint", "usage", "timings"}
    assert counts(last) == counts(whole)
    for name in ("finish_reason", "seed", "model", "system_fingerprint"):
        assert last[name] == whole[name]


def test_a_stream_is_sent_piece_by_piece(start):
    """The first words are there before the last: curl shows more than one piece."""
    server = start("--slots", "1", "--numeric", "f32")  # eight stories then take a while
    process = subprocess.Popen(
        ["curl", "-sSN", f"{server.url}/generate", "-d", '{"stream":true,"n":8,"temperature":2}'],
        stdout=subprocess.PIPE)
    first = process.stdout.readline()
    running = server.metrics()["alpaca_requests_running"]
    rest = process.stdout.read()
    assert process.wait() == 0
    assert first.startswith(b"data: {") and rest.endswith(b"data: [DONE]\n\n")
    assert running > 0
    server.stop()


def test_several_stories_in_one_stream(server):
    wish = {"prompt": "a frog", "n": 3, "seed": 50, "temperature": 1, "max_tokens": 30}
    whole = server.generate(**wish)
    events = server.post("/generate", {**wish, "stream": True}).events()
    assert events[-1] == "[DONE]"
    assert set(events[-2]) == {"model", "system_fingerprint", "usage", "timings"}
    assert counts(events[-2]) == counts(whole)
    ends = {event["index"]: event for event in events[:-2] if "finish_reason" in event}
    for index, story in enumerate(whole["stories"]):
        assert text_of(events[:-1], index) == story["completion"]
        assert ends[index] == {"index": index, "finish_reason": story["finish_reason"],
                               "seed": story["seed"]}


def test_a_stream_of_plain_text(server):
    wish = {"prompt": "A frog", "seed": 5, "max_tokens": 30}
    story = server.generate(**wish)["story"]
    answer = server.post("/generate", {**wish, "stream": True}, {"Accept": "text/plain"})
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text == story + "\n"
    refused = server.post("/generate", {"n": 2, "stream": True}, {"Accept": "text/plain"})
    assert refused.status == 400 and refused.json()["error"]["param"] == "n"


def test_a_stream_never_shows_a_part_of_a_stop_string(server):
    wish = {"prompt": "the boy", "seed": 5, "temperature": 1, "max_tokens": 40}
    text = server.generate(**wish)["completion"]
    for at in range(5, 60, 6):
        stop = text[at:at + 9]
        if not stop:
            break
        events = server.post("/generate", {**wish, "stop": stop, "stream": True}).events()
        # In lower case: a word that is cut short may have another case ("I" of "it").
        assert text_of(events[:-1]).lower() == text[:text.index(stop)].lower()
        assert text_of(events[:-1]) == server.generate(**wish, stop=stop)["completion"]
        assert events[-2]["finish_reason"] == "stop"


def test_http_1_0_gets_a_stream_too(server):
    body = json.dumps({"seed": 1, "max_tokens": 5, "stream": True}).encode()
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(b"POST /generate HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s"
                           % (len(body), body))
        answer = receive_all(connection)
    head, _, text = answer.partition(b"\r\n\r\n")
    assert b"200" in head.splitlines()[0] and b"chunked" not in head
    assert text.endswith(b"data: [DONE]\n\n")


def test_a_wrong_stream_request_is_refused_before_it_begins(server):
    answer = server.post("/generate", {"stream": True, "temperature": 9})
    assert answer.status == 400 and answer.json()["error"]["param"] == "temperature"


@pytest.mark.parametrize("best_of", [1, 4])
def test_a_waiting_stream_is_kept_alive_by_comments(start, best_of):
    server = start("--slots", "1", "--ping-interval", "1")
    others = server.occupy(30)
    waiting = server.send({"stream": True, "max_tokens": 2, "best_of": best_of})
    received = receive_until(waiting, b": still here\n\n")
    assert b"data:" not in received  # it was still waiting
    for connection in others:
        connection.close()
    receive_until(waiting, b"[DONE]")
    waiting.close()


@pytest.mark.parametrize("form", ["/generate", "/v1/completions"])
def test_a_stream_that_the_server_cuts_off_ends_with_an_error(start, form):
    server = start("--slots", "1", "--stop-timeout", "0")
    others = server.occupy(4)
    stream = server.send({"stream": True, "n": 8}, form)
    assert stream.recv(12) == b"HTTP/1.1 200"
    server.process.terminate()
    received = receive_all(stream)
    assert b'data: {"error":{"message":"the server is shutting down' in received
    assert b"[DONE]" not in received
    for connection in others + [stream]:
        connection.close()
    server.ended()
