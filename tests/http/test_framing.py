"""What RFC 9110 and RFC 9112 say of a request's line and headers, byte by byte.

Behind each request another one follows at once, which asks for /health and for the end of the
connection. Where the server keeps the connection, that one has the last answer; where it must close
it, because nobody knows where the next request begins, there is none.
"""
import json
import re
import socket

import pytest
from conftest import receive_until

NEXT = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
BODY = b'{"max_tokens":2}'
CHUNKS = b"10\r\n" + BODY + b"\r\n0\r\n\r\n"


def get(*headers, target=b"/health", method=b"GET", version=b"HTTP/1.1", host=b"Host: x"):
    lines = [b"%s %s %s" % (method, target, version), *([host] if host else []), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def post(*headers, body=BODY, **more):
    return get(*headers, method=b"POST", target=b"/generate", **more) + body


def length(value):
    return b"Content-Length: " + (value if isinstance(value, bytes) else b"%d" % value)


CHUNKED = b"Transfer-Encoding: chunked"

KEPT = {
    # what must be accepted
    "plain": (get(), 200),
    "empty lines before it": (b"\r\n\r\n" + get(), 200),
    "absolute target": (get(target=b"http://stories/health", host=b"Host: x.example"), 200),
    "absolute target with a port": (get(target=b"HTTP://[::1]:80/health"), 200),
    "absolute target of https": (get(target=b"https://x/health"), 200),
    "absolute target without a path": (get(target=b"http://x"), 200),
    "absolute target without a path, but a query": (get(target=b"http://x?prompt=a"), 200),
    "absolute target of nothing": (get(target=b"http://x/nothing"), 404),
    "escaped letters": (get(target=b"/%68ealt%68"), 200),
    "empty host": (get(host=b"Host:"), 200),
    "host with a port": (get(host=b"Host: x:8080"), 200),
    "host of IPv6": (get(host=b"Host: [::1]:8080"), 200),
    "host without a blank": (get(host=b"Host:x"), 200),
    "host between blanks": (get(host=b"Host: \t x \t "), 200),
    "host in capitals": (get(host=b"HOST: X"), 200),
    "a later version": (get(version=b"HTTP/1.9"), 200),
    "empty value": (get(b"X:"), 200),
    "odd name": (get(b"!#$%&'*+-.^_`|~09: a"), 200),
    "value in Latin 1": (get(b"X: caf\xe9"), 200),
    "tab in a value": (get(b"X: a\tb"), 200),
    "encoding between blanks": (post(length(16), b"Content-Encoding: \tidentity\t "), 200),
    "length": (post(length(16)), 200),
    "length with zeros": (post(length(b"00016")), 200),
    "chunks": (post(CHUNKED, body=CHUNKS), 200),
    "chunks in capitals": (post(b"TRANSFER-ENCODING: Chunked", body=CHUNKS), 200),
    "chunks with an extension and a trailer":
        (post(CHUNKED, body=b"10;a=b\r\n" + BODY + b"\r\n0\r\nX: y\r\n\r\n"), 200),
    # what is refused, but ends where it says
    "NUL in a path": (get(target=b"/health%00"), 404),
    "NUL in a path before more": (get(target=b"/generate%00/x"), 404),
    "NUL in a path of an absolute target": (get(target=b"http://x/health%00"), 404),
    "empty segments": (get(target=b"//health"), 404),
    "empty segment at the end": (get(target=b"/health/"), 404),
    "escaped twice": (get(target=b"/health%2500"), 404),
    "no path": (get(target=b"health"), 404),
    "unknown method": (get(method=b"BREW"), 405),
}

CLOSED = {
    "two lengths": (post(length(2), length(16)), 400),
    "two lengths, the larger first": (post(length(16), length(2)), 400),
    "the same length twice": (post(length(16), length(16)), 400),
    "length and chunks": (post(length(16), CHUNKED, body=CHUNKS), 400),
    "chunks and length": (post(CHUNKED, length(26), body=CHUNKS), 400),
    "length and an unknown coding": (post(length(16), b"Transfer-Encoding: gzip"), 400),
    "chunks in HTTP/1.0": (post(CHUNKED, body=CHUNKS, version=b"HTTP/1.0"), 400),
    "no host": (get(host=None), 400),
    "two hosts": (get(b"Host: y"), 400),
    "the same host twice": (get(b"Host: x"), 400),
    "two hosts in HTTP/1.0": (get(b"Host: y", version=b"HTTP/1.0"), 400),
    "absolute target, but no host": (get(target=b"http://x/health", host=None), 400),
    "absolute target of no host": (get(target=b"http:///health"), 400),
    "absolute target with a user": (get(target=b"http://me@x/health"), 400),
    "host with a blank": (get(host=b"Host: x y"), 400),
    "host with a path": (get(host=b"Host: x/y"), 400),
    "host with a user": (get(host=b"Host: me@x"), 400),
    "far too long a host": (get(host=b"Host: " + b"x" * 300), 400),
    "blank before a colon": (get(b"X : y"), 400),
    "tab before a colon": (get(b"X\t: y"), 400),
    "blank before the length's colon": (post(b"Content-Length : 16"), 400),
    "blank before the coding's colon": (post(b"Transfer-Encoding : chunked", body=CHUNKS), 400),
    "blank before the first header": (get(host=b" Host: x"), 400),
    "blank inside a name": (get(b"X Y: z"), 400),
    "no name": (get(b": y"), 400),
    "name in brackets": (get(b"(X): y"), 400),
    "continued line": (get(b"X: y", b" z"), 400),
    "line continued with a tab": (get(b"X: y", b"\tz"), 400),
    "long continued line": (get(b"X: y", b" " + b"z" * 300), 400),
    "coding in a continued line": (post(b"Transfer-Encoding:", b" chunked", body=CHUNKS), 400),
    "length in a continued line": (post(b"Content-Length:", b" 16"), 400),
    "host in a continued line": (get(host=b"Host:\r\n x"), 400),
    "continued line in the middle": (get(b"X: y", b" z", b"Y: z"), 400),
    "carriage return in a value": (get(b"X: y\rZ: z"), 400),
    "control character in a value": (get(b"X: \x01"), 400),
    "delete in a value": (get(b"X: \x7f"), 400),
    "NUL in a value": (get(b"X: y\0z", b"Y: z"), 400),
    "NUL in the last value": (get(b"X: y\0z"), 400),
    "blank in the target": (get(target=b"/health /x"), 400),
    "tab in the target": (get(target=b"/health\t"), 400),
    "control character in the target": (get(target=b"/health?\x01"), 400),
    "method with a bracket": (get(method=b"GE(T"), 400),
    "gzip and chunks": (post(b"Transfer-Encoding: gzip, chunked", body=CHUNKS), 501),
    "unknown coding": (post(b"Transfer-Encoding: xchunked", body=CHUNKS), 501),
    "identity": (post(b"Transfer-Encoding: identity"), 501),
    "no coding": (post(b"Transfer-Encoding:"), 501),
    "chunks of chunks": (post(b"Transfer-Encoding: chunked, chunked", body=CHUNKS), 501),
    "chunks of chunks in two lines": (post(CHUNKED, CHUNKED, body=CHUNKS), 501),
    "large headers": (get(*[b"X-%d: " % i + b"y" * 1000 for i in range(18)]), 431),
    "a large header": (get(b"X: " + b"y" * 20000), 431),
    "a long target": (get(target=b"/" + b"y" * 20000), 414),
    "a long query": (get(target=b"/?prompt=" + b"y" * 20000), 414),
    "HTTP/1.0": (get(version=b"HTTP/1.0"), 200),
    "HTTP/1.0 without a host": (get(version=b"HTTP/1.0", host=None), 200),
}


def send(server, request):
    """All that comes until the connection ends, be it with a reset, as behind bytes left unread."""
    received = b""
    with socket.create_connection((server.host, server.port)) as connection:
        try:
            connection.sendall(request)
            while piece := connection.recv(65536):
                received += piece
        except (BrokenPipeError, ConnectionResetError):
            pass
    return received


def exchange(server, request):
    """[(status, headers, body)] of all answers on a connection, until it ends."""
    received = send(server, request)
    answers = []
    while received:
        head, blank, received = received.partition(b"\r\n\r\n")
        assert blank
        first, *lines = head.decode("latin1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        size = int(headers["Content-Length"])
        answers.append((int(re.match(r"HTTP/1\.[01] (\d+) ", first)[1]), headers, received[:size]))
        received = received[size:]
    return answers


@pytest.mark.parametrize("name", KEPT)
def test_what_is_understood_keeps_the_connection(server, name):
    request, status = KEPT[name]
    answers = exchange(server, request + NEXT)
    assert [answer[0] for answer in answers] == [status, 200]
    assert "Connection" not in answers[0][1]


@pytest.mark.parametrize("name", CLOSED)
def test_what_is_not_understood_ends_the_connection(server, name):
    request, status = CLOSED[name]
    answers = exchange(server, request + NEXT)
    assert [answer[0] for answer in answers] == [status]
    _, headers, body = answers[0]
    assert headers["Connection"] == "close"
    assert headers["X-Request-Id"]
    if status != 200:
        assert headers["Content-Type"] == "application/json"
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


# libmicrohttpd answers these before it asks the server, in HTML.
BY_THE_LIBRARY = {
    "a list of lengths": (post(length(b"16, 58")), 400),
    "a list of the same length": (post(length(b"16, 16")), 400),
    "a negative length": (post(length(b"-5")), 400),
    "no length": (post(length(b"")), 400),
    "a length with a sign": (post(length(b"+16")), 400),
    "a length in hexadecimal": (post(length(b"0x10")), 400),
    "a broken chunk": (post(CHUNKED, body=b"zz\r\n{}\r\n0\r\n\r\n"), 400),
    "a chunk that is longer than it says": (post(CHUNKED, body=b"3\r\n{}  \r\n0\r\n\r\n"), 400),
    "a chunk's length in hexadecimal": (post(CHUNKED, body=b"0x2\r\n{}\r\n0\r\n\r\n"), 400),
    "a header without a colon": (get(b"X"), 400),
    "NUL in a name": (get(b"X\0Y: z"), 400),
    "HTTP/2.0": (get(version=b"HTTP/2.0"), 505),
    "HTTP/0.9": (get(version=b"HTTP/0.9"), 505),
    "no HTTP": (get(version=b"ICE/1.0"), 400),
    "very large headers": (get(b"X: " + b"y" * 40000), 431),
}


@pytest.mark.parametrize("name", BY_THE_LIBRARY)
def test_what_the_library_refuses_ends_the_connection(server, name):
    request, status = BY_THE_LIBRARY[name]
    statuses = set(re.findall(rb"HTTP/1\.[01] (\d+) ", send(server, request + NEXT)))
    assert statuses == {b"%d" % status}


def test_refused_heads_are_in_the_log_and_the_metrics(start):
    server = start()
    exchange(server, get(b"X: " + b"y" * 20000, b"X-Request-Id: large-one "))
    exchange(server, get(target=b"/?prompt=" + b"secret" * 4000))
    exchange(server, post(b"Transfer-Encoding: gzip", b"X-Request-Id: gzip-1"))
    exchange(server, get(host=None))
    send(server, BY_THE_LIBRARY["a broken chunk"][0])
    send(server, BY_THE_LIBRARY["a header without a colon"][0])

    def count(path, method, code, metrics):
        return metrics.get('http_requests_total{path="%s",method="%s",code="%d"}'
                           % (path, method, code), 0)

    server.until(lambda metrics: count("other", "other", 400, metrics) == 1)
    metrics = server.until(lambda metrics: count("/generate", "POST", 400, metrics) == 1)
    assert count("/health", "GET", 431, metrics) == 1
    assert count("/", "GET", 414, metrics) == 1
    assert count("/generate", "POST", 501, metrics) == 1
    assert count("/health", "GET", 400, metrics) == 1
    log = server.stop()
    assert re.search(r"GET /health 431 .* large-one", log)
    assert re.search(r"POST /generate 501 .* gzip-1", log)
    assert re.search(r"- /health 400 ", log)
    assert "secret" not in log


def test_the_limit_of_headers_counts_all_of_them(start):
    server = start("--header-bytes", "4096")
    fixed = len(get(b"X: "))
    assert exchange(server, get(b"X: " + b"y" * (4096 - fixed)) + NEXT)[0][0] == 200
    assert exchange(server, get(b"X: " + b"y" * (4097 - fixed)) + NEXT)[0][0] == 431
    path = b"/" + b"y" * 4096
    assert exchange(server, get(target=path) + NEXT)[0][0] == 414


@pytest.mark.parametrize("value", [b"100-continue", b"100-Continue \t"])
def test_a_client_that_waits_hears_that_it_may_go_on(server, value):
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(post(length(16), b"Connection: close", b"Expect: " + value, body=b""))
        assert receive_until(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert receive_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_blanks_behind_a_value_are_no_part_of_it(start, tmp_path):
    (tmp_path / "keys").write_text("secret\n")
    server = start("--api-key-file", tmp_path / "keys")
    key = b"Authorization: Bearer secret \t "
    answers = exchange(server, get(b"X-Request-Id: mine \t", key, target=b"/v1/models") + NEXT)
    assert answers[0][0] == 200 and answers[0][1]["X-Request-Id"] == "mine"
    answers = exchange(server, post(key, length(16), b"Accept: text/plain ") + NEXT)
    assert answers[0][1]["Content-Type"].startswith("text/plain")
    etag = exchange(server, get(target=b"/") + NEXT)[0][1]["ETag"].encode()
    assert exchange(server, get(b"If-None-Match: " + etag + b" ", target=b"/") + NEXT)[0][0] == 304
    assert exchange(server, get(b"If-None-Match: *  ", target=b"/") + NEXT)[0][0] == 304


ACCEPT = {
    "text/plain": True, "TEXT/PLAIN": True, "text/plain; charset=utf-8": True, "text/*": True,
    "text/plain, application/json": True, "application/json, text/plain": False,
    "application/json, text/plain, */*": False, "text/plain, */*": True, "*/*, text/plain": True,
    "text/html, */*;q=0.8": False, "*/*": False, "": False, "text/html": False,
    "text/event-stream": False, "text/event-stream, text/plain": False,
    "text/plain;q=0.5, application/json": False, "application/json;q=0.5, text/plain": True,
    "application/json;q=0.5, text/plain;q=0.9": True,
    "text/plain;q=0.9, application/json;q=0.91": False,
    "text/plain;q=0.5, text/event-stream": False, "text/event-stream;q=0.1, text/plain;q=0.2": True,
    "text/plain;q=0": False, "text/plain;q=0.000": False, "text/plain ; q=0, */*": False,
    "application/json;q=0": True, "application/json;q=0, */*": True, "*/*;q=0, text/plain": True,
    "text/*;q=0, text/plain": True, "text/plain;q=0, text/*": False, "text/plain;Q=0": False,
    "text/plain;format=flowed;q=0.1, application/json;q=0.2": False, "text/plainer": False,
    ", text/plain,": True, "text/plain;q=nonsense": False,
}


@pytest.mark.parametrize("accept", ACCEPT)
def test_accept_decides_by_its_q(server, accept):
    answer = server.post("/generate", {"max_tokens": 1, "seed": 1}, {"Accept": accept})
    expected = "text/plain" if ACCEPT[accept] else "application/json"
    assert answer.headers["Content-Type"].startswith(expected)
