"""Live and ready, overload, metrics, keys, CORS, request ids, the log."""
import json
import re
import shutil
import signal
import subprocess
import time

import pytest
from conftest import ROOT, error_of


def test_a_full_queue_says_so_at_once(start):
    server = start("--slots", "1", "--queue", "1")
    for _ in range(100):  # two requests have a place each, but for the moments between two stories
        others = server.occupy(2)
        answer = server.post("/generate", {"n": 8, "temperature": 2})
        for connection in others:
            connection.close()
        if answer.status == 503:
            break
        server.until_idle()
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert error_of(answer)["code"] == "busy"
    server.until_idle()
    server.generate(max_tokens=2)


def test_a_full_queue_is_not_ready_and_refuses_stories(start):
    server = start("--slots", "1", "--queue", "1")
    assert server.ask("GET", "/ready").json() == {"status": "ready"}
    for _ in range(100):  # the queue is full but for the moments between two stories
        others = server.occupy(2)
        answer = server.ask("GET", "/ready")
        busy = server.post("/generate", "not even JSON")
        for connection in others:
            connection.close()
        if answer.status == 503 and busy.status == 503:
            break
        server.until_idle()
    assert error_of(answer)["code"] == "busy"
    assert error_of(busy)["code"] == "busy"  # decided before the body is looked at
    assert server.ask("GET", "/health").status == 200
    server.until_idle()
    assert server.ask("GET", "/ready").status == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("slots, queue", [(1, 1), (2, 2), (3, 8)])
def test_more_stories_than_places_come_in_turn(server, start, slots, queue, stream):
    wish = {"prompt": "the cat", "n": 20, "seed": 5, "temperature": 1, "max_tokens": 12}
    expected = [story["completion"] for story in server.generate(**wish)["stories"]]
    small = start("--slots", str(slots), "--queue", str(queue))
    for _ in range(3):
        if not stream:
            stories = small.generate(**wish)["stories"]
            assert [story["seed"] for story in stories] == list(range(5, 25))
            assert [story["completion"] for story in stories] == expected
            continue
        texts, seeds = [""] * 20, [None] * 20
        *events, _, done = small.post("/generate", {**wish, "stream": True}).events()
        assert done == "[DONE]"
        for event in events:
            texts[event["index"]] += event.get("text", "")
            seeds[event["index"]] = event.get("seed")
        assert texts == expected and seeds == list(range(5, 25))


def test_many_stories_leave_places_to_others(start):
    """While the other waits for its turn, the first has half of the queue at most."""
    server = start("--slots", "1", "--queue", "8")
    others = server.occupy(1, n=32)
    metrics = server.until(lambda metrics: metrics["alpaca_requests_running"] == 1)
    assert metrics["alpaca_requests_waiting"] <= 4 + 1  # one of these may be on its way to the slot
    assert server.ask("GET", "/ready").status == 200
    server.generate(max_tokens=2)
    metrics = server.metrics()  # not over yet; between two of its stories none runs
    assert metrics["alpaca_requests_running"] + metrics["alpaca_requests_waiting"] > 0
    for connection in others:
        connection.close()


def test_not_ready_while_stopping(start):
    server = start("--slots", "1", "--stop-timeout", "3600")
    others = server.occupy(30)
    server.process.send_signal(signal.SIGTERM)
    while "stopping" not in server.log():
        time.sleep(0.01)
    ready = server.ask("GET", "/ready")
    refused = server.post("/generate", {})
    alive = server.ask("GET", "/health")
    assert ready.status == 503 and error_of(ready)["code"] == "stopping"
    assert refused.status == 503 and error_of(refused)["code"] == "stopping"
    assert alive.status == 200 and alive.headers["Connection"] == "close"
    for connection in others:
        connection.close()
    server.ended()  # nobody is left to wait for


def test_metrics_count_what_happened(start):
    server = start()
    story = server.generate(prompt="the hen", max_tokens=9, seed=1)
    server.generate(prompt="the hen", n=2, max_tokens=2, seed=1)
    server.post("/generate", "{")
    server.ask("GET", "/no/such/path")
    server.ask("BREW", "/generate")
    # A request is counted when it is over, which its client may know a moment before.
    counted = ('http_requests_total{path="/generate",method="POST",code="200"}',
               'http_requests_total{path="/generate",method="POST",code="400"}',
               'http_requests_total{path="other",method="GET",code="404"}',
               'http_requests_total{path="/generate",method="other",code="405"}')
    metrics = server.until(lambda metrics: sum(metrics.get(name, 0) for name in counted) == 5)
    ended = sum(value for name, value in metrics.items()
                if name.startswith("alpaca_requests_total"))
    assert ended == 3
    assert metrics["alpaca_prompt_tokens_total"] == 3 * story["usage"]["prompt_tokens"]
    assert metrics["alpaca_generation_tokens_total"] >= story["usage"]["completion_tokens"]
    assert metrics["alpaca_time_to_first_token_seconds_count"] == 3
    assert metrics["alpaca_request_queue_time_seconds_count"] == 3
    assert metrics["alpaca_request_duration_seconds_count"] == 2
    assert metrics['http_requests_total{path="/generate",method="POST",code="200"}'] == 2
    assert metrics['http_requests_total{path="/generate",method="POST",code="400"}'] == 1
    assert metrics['http_requests_total{path="/generate",method="other",code="405"}'] == 1
    assert metrics['http_requests_total{path="other",method="GET",code="404"}'] == 1
    gaps = metrics["alpaca_inter_token_latency_seconds_count"]
    assert gaps <= story["usage"]["completion_tokens"] - 1 + 2
    assert metrics["process_resident_memory_bytes"] > 1e6


def test_promtool_finds_nothing_to_say(server):
    if not shutil.which("promtool"):
        pytest.skip("no promtool here")
    answer = server.ask("GET", "/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    result = subprocess.run(["promtool", "check", "metrics"], input=answer.text,
                            capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_only_holders_of_a_key_may_use_the_api(start, tmp_path):
    (tmp_path / "keys").write_text("# the library\nopen-sesame\nsecond\n")
    server = start("--api-key-file", tmp_path / "keys")
    for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "open-sesame"}):
        for method, path in (("POST", "/generate"), ("POST", "/v1/completions"),
                             ("GET", "/v1/models"), ("GET", "/metrics"), ("POST", "/tokenize")):
            answer = server.ask(method, path, headers=header)
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert error_of(answer)["code"] == "invalid_api_key"
    for path in ("/", "/app.js", "/health", "/ready"):
        assert server.ask("GET", path).status == 200
    for key in ("open-sesame", "second"):
        answer = server.post("/generate", {"max_tokens": 1}, {"Authorization": f"Bearer {key}"})
        assert answer.status == 200
    assert "open-sesame" not in server.stop()


def test_cors_only_when_asked(server, start):
    assert not [name for name in server.ask("GET", "/health").headers
                if name.lower().startswith("access-control")]
    other = start("--cors-origin", "https://stories.example")
    answer = other.ask("OPTIONS", "/generate", headers={
        "Origin": "https://stories.example", "Access-Control-Request-Method": "POST"})
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "https://stories.example"
    assert "Content-Type" in answer.headers["Access-Control-Allow-Headers"]
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Vary"] == "Origin"
    assert allowed_headers(answer) == {"content-type", "authorization", "x-request-id"}
    answer = other.post("/generate", {"max_tokens": 1})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://stories.example"


def allowed_headers(answer):
    return {name.strip().lower()
            for name in answer.headers["Access-Control-Allow-Headers"].split(",")}


def test_a_preflight_lets_through_whatever_headers_it_asks_for(start):
    """OpenAI's client in a browser sends x-stainless-os and more of the kind."""
    server = start("--cors-origin", "*")
    asked = ["authorization", "content-type", "x-stainless-os", "x-stainless-retry-count",
             "x-api_key"]
    for separator in (",", ", "):
        answer = server.ask("OPTIONS", "/v1/completions", headers={
            "Origin": "https://stories.example", "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": separator.join(asked)})
        assert answer.status == 204
        assert allowed_headers(answer) == {*asked, "x-request-id"}
    for strange in ("x: y", "x/y", "x" * 3000, ""):
        answer = server.ask("OPTIONS", "/v1/completions", headers={
            "Origin": "https://stories.example", "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": strange})
        assert answer.status == 204
        assert allowed_headers(answer) == {"content-type", "authorization", "x-request-id"}


def test_a_request_keeps_its_id_or_gets_one(start):
    server = start()
    mine = server.ask("GET", "/health", headers={"X-Request-Id": "abc-123_x.y:z"})
    assert mine.headers["X-Request-Id"] == "abc-123_x.y:z"
    drawn = {server.ask("GET", "/health", headers=headers).headers["X-Request-Id"]
             for headers in ({}, {}, {"X-Request-Id": ""}, {"X-Request-Id": "a b"},
                             {"X-Request-Id": "x" * 65}, {"X-Request-Id": 'a"b'})}
    assert len(drawn) == 6 and all(len(each) == 16 for each in drawn)
    log = server.stop()
    assert "abc-123_x.y:z" in log and all(each in log for each in drawn)


def test_the_log_never_holds_a_prompt_and_no_line_can_be_forged(start):
    for form in ("text", "json"):
        server = start("--log-format", form, "--verbose")
        server.generate(prompt="a secret wish", max_tokens=2)
        server.post("/generate", '{"prompt": "a secret wish", "x": 1}')
        server.ask("GET", "/%0Aerror%20forged%22%7b")
        log = server.stop()
        assert "secret" not in log and "wish" not in log
        assert not any(line.startswith("error") for line in log.splitlines())


def test_json_log_lines_are_json(start):
    server = start("--log-format", "json")
    story = server.generate(prompt="a day", max_tokens=5)
    server.ask("GET", '/%22%5c%00%ff')
    lines = [json.loads(line) for line in server.stop().splitlines()]
    assert [line.keys() >= {"time", "request_id"} or line.keys() == {"time", "level", "message"}
            for line in lines] == [True] * len(lines)
    lines = [line for line in lines if "request_id" in line]
    # In the order in which they were over: two threads may write theirs the other way round.
    answered, missing = sorted(lines, key=lambda line: line["method"], reverse=True)
    assert answered["method"] == "POST" and answered["path"] == "/generate"
    assert answered["status"] == 200
    assert answered["completion_tokens"] == story["usage"]["completion_tokens"]
    assert answered["finish_reason"] == story["finish_reason"] and answered["complete"] is True
    assert missing["status"] == 404


@pytest.mark.parametrize("path", ["/generate", "/", "/health", "/nothing", "/v1/models"])
def test_every_answer_carries_the_safety_headers(server, path):
    answer = server.ask("GET", path)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Request-Id"]


def test_wrk_gets_only_stories(start, tmp_path):
    if not shutil.which("wrk"):
        pytest.skip("no wrk here")
    server = start("--no-access-log")
    script = tmp_path / "post.lua"
    script.write_text('wrk.method = "POST"\nwrk.body = \'{"prompt": "once", "max_tokens": 8}\'\n'
                      'done = function(summary) io.write(string.format("%d %d %d %d %d\\n",'
                      " summary.requests, summary.errors.status, summary.errors.connect,"
                      " summary.errors.read, summary.errors.write)) end\n")
    for seconds in (2, 20, 200):  # as long as a slow machine needs
        result = subprocess.run(["wrk", "-t", "2", "-c", "32", "-d", f"{seconds}s",
                                 "--timeout", "60s", "-s", script, server.url + "/generate"],
                                capture_output=True, text=True, check=True)
        requests, *errors = map(int, result.stdout.splitlines()[-1].split())
        assert errors == [0, 0, 0, 0]
        if requests > 0:
            break
    assert requests > 0
    metrics = server.until_idle()
    assert metrics['http_requests_total{path="/generate",method="POST",code="200"}'] >= requests


def test_the_dashboard_asks_only_for_metrics_that_exist(server):
    server.generate(max_tokens=3)
    dashboard = (ROOT / "deploy" / "grafana.json").read_text()
    json.loads(dashboard)
    asked = set(re.findall(r"\b(?:alpaca|http|process)_[a-z_]+", dashboard))
    known = {name.partition("{")[0] for name in server.metrics()}
    assert asked and asked <= known, asked - known
