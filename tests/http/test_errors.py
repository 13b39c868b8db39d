"""Wrong requests: the right status, the API's form, the field's name and its range."""
import socket
import subprocess

import pytest
from conftest import error_of, receive_until

DEEP = "[" * 100000 + "]" * 100000

WRONG_JSON = [
    b"{", b"}", b"nonsense", b'{"prompt": "a"', b'{"prompt": "a",}', b"{'prompt': 'a'}",
    b'{"prompt" "a"}', b'{prompt: "a"}', b'{"prompt": "a"} x', b'{} {}', b'{"prompt": "a\nb"}',
    b'{"prompt": "\\x"}', b'{"prompt": "\\u12"}', b'{"prompt": "\\u0000"}',
    b'{"prompt": "a\\ud800b"}', b'{"prompt": "\\udc00"}', b'{"prompt": "\\ud800\\u0041"}',
    b'{"prompt": "\xff"}',
    b'{"prompt": "\xc0\x80"}', b'{"prompt": "\xed\xa0\x80"}', b'{"prompt": "\xf5\x80\x80\x80"}',
    b'{"prompt": "a\x00b"}', b'{"temperature": NaN}', b'{"temperature": Infinity}',
    b'{"temperature": +1}', b'{"temperature": 01}', b'{"temperature": 1.}', b'{"temperature": .5}',
    b'{"temperature": 0x1}', b'{"temperature": 1e}', b'{"stream": True}', b'{"prompt": tru}',
    b'{"prompt": "a" /* comment */}', b'\x00', b'{}\x00',
]


@pytest.mark.parametrize("body", WRONG_JSON)
def test_what_is_no_json_is_refused_with_its_place(server, body):
    answer = server.post("/generate", body)
    assert answer.status == 400, answer.text
    error = error_of(answer)
    assert "JSON" in error["message"] and "byte" in error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_body_in_utf_16_is_named(server, coding):
    answer = server.post("/tokenize", '{"text": "caf\u00e9"}'.encode(coding))
    assert answer.status == 400
    assert "UTF-16" in error_of(answer)["message"] and "UTF-8" in error_of(answer)["message"]


def test_a_byte_order_mark_before_a_body_is_skipped(server):
    body = '{"text": "caf\u00e9"}'.encode()
    marked = server.post("/tokenize", b"\xef\xbb\xbf" + body)
    assert marked.status == 200 and marked.json() == server.post("/tokenize", body).json()


@pytest.mark.parametrize("body, words", [
    (b'{"prompt": "a\\u0000b"}', "\\u0000"), (b'{"\\u0000": 1}', "\\u0000"),
    (b"[" * 17 + b"]" * 17, "too deep nesting")])
def test_json_that_is_not_accepted_is_not_called_wrong_json(server, body, words):
    message = error_of(server.post("/generate", body))["message"]
    assert words in message and "not valid" not in message and "byte" in message


@pytest.mark.parametrize("body, kind", [
    (b"[]", "a list"), (b'"text"', "a string"), (b"1", "a number"), (b"null", "null"),
    (b"true", "true or false")])
def test_a_body_that_is_no_object_is_refused(server, body, kind):
    answer = server.post("/generate", body)
    assert answer.status == 400
    assert error_of(answer)["message"].endswith(f"not {kind}")


WRONG_FIELDS = [
    ("prompt", 1, "a string"), ("prompt", ["a"], "a string"), ("prompt", {}, "a string"),
    ("temperature", -0.1, "0 to 2"), ("temperature", 2.1, "0 to 2"), ("temperature", "1", "0 to 2"),
    ("temperature", True, "0 to 2"), ("temperature", 1e999, "0 to 2"),
    ("top_k", -1, "0 to 4000"), ("top_k", 1.5, "whole"), ("top_k", 4001, "0 to 4000"),
    ("top_p", 1.01, "0 to 1"), ("top_p", -1, "0 to 1"), ("top_p", [], "0 to 1"),
    ("min_p", 2, "0 to 1"), ("repetition_penalty", 0, "0.5 to 2"),
    ("repetition_penalty", 5, "0.5 to 2"), ("max_tokens", -1, "0 to 100000"),
    ("max_tokens", 1e9, "0 to"), ("max_tokens", "all", "0 to"),
    ("seed", -2, "-1 to 9007199254740991"), ("seed", 2**53, "-1 to"), ("seed", 0.5, "whole"),
    ("seed", "1", "whole"), ("stop", 1, "1 to 4"), ("stop", "", "1 to 256"),
    ("stop", ["a", 1], "1 to 4"), ("stop", ["a"] * 5, "1 to 4"), ("stop", "x" * 257, "1 to 256"),
    ("stop", [[]], "1 to 4"), ("n", 0, "1 to 32"), ("n", 33, "1 to 32"),
    ("presence_penalty", 2.1, "-2 to 2"), ("frequency_penalty", "1", "-2 to 2"),
    ("stream", "yes", "true or false"), ("stream", 1, "true or false"),
    ("truncate", 0, "true or false"), ("max_token", 5, "unknown field"), ("", 5, "unknown field"),
    ("Prompt", "a", "unknown field"),
]


@pytest.mark.parametrize("field, value, expected", WRONG_FIELDS)
def test_a_wrong_value_is_refused_with_the_field_and_its_range(server, field, value, expected):
    text = '{"%s": 1e999}' % field if value == 1e999 else {field: value}
    answer = server.post("/generate", text)
    assert answer.status == 400, answer.text
    error = error_of(answer)
    assert error["param"] == (field or None)
    assert expected in error["message"]


def test_a_field_given_twice_is_refused(server):
    answer = server.post("/generate", b'{"seed": 1, "seed": 2}')
    assert answer.status == 400
    assert error_of(answer)["param"] == "seed"


@pytest.mark.parametrize("number", ["0.7" + "0" * 100, "0." + "3" * 500, "1" + "0" * 63 + "e-64",
                                    "0." + "0" * 200 + "7e200"])
def test_numbers_of_many_digits_are_numbers(server, number):
    answer = server.post("/generate", '{"max_tokens": 2, "temperature": %s}' % number)
    assert answer.status == 200, answer.text
    answer = server.post("/generate", '{"max_tokens": 1%s}' % ("0" * 100))
    assert answer.status == 400 and error_of(answer)["param"] == "max_tokens"


def test_deep_nesting_is_refused(start):
    server = start("--body-bytes", "1048576")
    for body in (DEEP, '{"a":' * 50000, '{"stop": %s}' % ("[" * 17 + "]" * 17)):
        answer = server.post("/generate", body)
        assert answer.status == 400
        assert "deep" in error_of(answer)["message"]


@pytest.mark.parametrize("path", ["/nothing", "/generate/", "/index.html", "//", "/../etc/passwd",
                                  "/%2e%2e/etc/passwd", "/v1", "/" + "x" * 200, "/gen%00erate"])
def test_an_unknown_path_is_not_found(server, path):
    for method in ("GET", "POST"):
        answer = server.ask(method, path)
        assert answer.status == 404
        assert error_of(answer)["code"] == "not_found"


@pytest.mark.parametrize("method, path, allow", [
    ("GET", "/generate", "POST, OPTIONS"), ("PUT", "/generate", "POST, OPTIONS"),
    ("HEAD", "/generate", "POST, OPTIONS"), ("DELETE", "/", "GET, HEAD, OPTIONS"),
    ("POST", "/", "GET, HEAD, OPTIONS"), ("POST", "/health", "GET, HEAD, OPTIONS"),
    ("BREW", "/generate", "POST, OPTIONS"), ("PATCH", "/app.js", "GET, HEAD, OPTIONS")])
def test_an_unknown_method_is_not_allowed(server, method, path, allow):
    answer = server.ask(method, path)
    assert answer.status == 405
    assert answer.headers["Allow"] == allow
    if method != "HEAD":
        assert error_of(answer)["code"] == "method_not_allowed"


def test_options_tells_the_methods(server):
    answer = server.ask("OPTIONS", "/generate")
    assert answer.status == 204
    assert answer.headers["Allow"] == "POST, OPTIONS"
    assert answer.headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize("size", [65537, 200_000, 3_000_000])
def test_too_large_a_body_is_read_and_refused(server, size):
    answer = server.post("/generate", b"a" * size)
    assert answer.status == 413
    assert error_of(answer)["code"] == "body_too_large"


def test_a_far_too_large_body_is_refused_before_it_is_sent(server):
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 6000000\r\n\r\n")
        received = receive_until(connection, b"\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 413 ")


def test_a_client_that_sends_a_far_too_large_body_all_the_same_is_cut_off(server):
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall(b"POST /generate HTTP/1.1\r\nHost: x\r\n"
                           b"Content-Length: %d\r\n\r\n" % 10**15)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while True:
                connection.sendall(b"a" * 1_000_000)
    assert server.ask("GET", "/health").status == 200


def test_a_body_as_large_as_is_allowed_arrives_before_its_story_begins(start):
    """5 MiB are more than the server reads of a body that it refuses."""
    server = start("--body-bytes", str(8 << 20))
    answer = server.post("/generate", b'{"prompt": "the cat", "max_tokens": 3}' + b" " * (5 << 20))
    assert answer.status == 200
    assert answer.json()["story"].startswith("the cat")
    assert server.post("/generate", b"x" * (5 << 20)).status == 400
    assert server.post("/nothing", b"x" * 100).status == 404
    metrics = server.until_idle()
    assert metrics["alpaca_generation_tokens_total"] == answer.json()["usage"]["completion_tokens"]


def test_the_largest_body_allowed_is_taken(server):
    body = b'{"prompt": "a"}'
    answer = server.post("/generate", body + b" " * (65536 - len(body)))
    assert answer.status == 200


def test_too_large_a_body_in_chunks_is_refused(server):
    def chunks(count):
        for _ in range(count):
            yield b"x" * 10000
    connection = server.connect()
    connection.request("POST", "/generate", chunks(10), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})
    answer = connection.getresponse()
    assert answer.status == 413
    assert b"65536 bytes" in answer.read()
    connection.close()


def test_curl_that_waits_for_the_server_hears_of_too_large_a_body_first(server, tmp_path):
    (tmp_path / "body").write_bytes(b"x" * 20_000_000)
    output = subprocess.run(
        ["curl", "-sS", "-o", tmp_path / "answer", "-w", "%{http_code} %{size_upload}",
         "-H", "Expect: 100-continue", "--data-binary", f"@{tmp_path}/body",
         f"{server.url}/generate"], capture_output=True, text=True, check=True).stdout
    assert output == "413 0"
    assert b"body_too_large" in (tmp_path / "answer").read_bytes()


def test_a_compressed_body_is_refused(server):
    answer = server.post("/generate", b"\x1f\x8b", {"Content-Encoding": "gzip"})
    assert answer.status == 415
    assert error_of(answer)["code"] == "unsupported_encoding"


def test_a_refused_request_leaves_the_connection_usable(server):
    connection = server.connect()
    for path, body, status in [("/generate", "{", 400), ("/nothing", "x" * 5000, 404),
                               ("/generate", "x" * 100000, 413),
                               ("/generate", '{"max_tokens": 1}', 200)]:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()


@pytest.mark.parametrize("request_bytes", [
    b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00",
    b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
    b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"POST /generate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 40000 + b"\r\n\r\n",
    b"GET /" + b"y" * 40000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"],
    ids=["empty", "short", "version", "tls", "header", "length", "chunk", "long header",
         "long path"])
def test_what_is_no_http_does_no_harm(start, request_bytes):
    server = start("--idle-timeout", "1")
    with socket.create_connection((server.host, server.port)) as connection:
        try:
            connection.sendall(request_bytes)
            answer = connection.recv(65536)
            assert answer == b"" or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5", b"HTTP/1.0 4"))
        except ConnectionResetError:
            pass
    assert server.ask("GET", "/health").status == 200
