"""POST /v1/completions, GET /v1/models, /tokenize and /detokenize, by hand.

The real client is in tests/browser/openai.test.mjs."""
import pytest
from conftest import error_of


def test_a_completion(server):
    wish = {"prompt": "The sea", "seed": 3, "max_tokens": 12, "temperature": 0.7}
    told = server.generate(**wish)
    answer = server.post("/v1/completions", {**wish, "model": "any", "user": "me",
                                             "frequency_penalty": 0, "logprobs": None})
    assert answer.status == 200
    body = answer.json()
    assert body["object"] == "text_completion" and body["id"].startswith("cmpl-")
    assert body["model"] == told["model"] and body["usage"] == told["usage"]
    assert body["seed"] == 3 and abs(body["created"] - 1.7e9) < 1e9
    assert body["choices"] == [{"index": 0, "text": told["completion"], "logprobs": None,
                                "finish_reason": told["finish_reason"]}]


def test_several_choices_and_echo(server):
    wish = {"prompt": ["The sea"], "seed": 3, "max_tokens": 6, "n": 2, "echo": True}
    choices = server.post("/v1/completions", wish).json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    for choice in choices:
        alone = server.generate(prompt="The sea", seed=3 + choice["index"], max_tokens=6)
        assert choice["text"] == alone["story"]


def test_a_stream_of_completions(server):
    wish = {"prompt": "The sea", "seed": 3, "max_tokens": 12}
    whole = server.post("/v1/completions", wish).json()
    for options in (None, {"include_usage": True}, {"include_usage": False}):
        events = server.post("/v1/completions", {**wish, "stream": True,
                                                 "stream_options": options}).events()
        assert events.pop() == "[DONE]"
        if options == {"include_usage": True}:
            last = events.pop()
            assert last["choices"] == [] and last["usage"] == whole["usage"]
            assert all(event["usage"] is None for event in events)
        else:
            assert all("usage" not in event for event in events)
        assert len({event["id"] for event in events}) == 1
        assert "".join(event["choices"][0]["text"] for event in events) == \
            whole["choices"][0]["text"]
        reasons = [event["choices"][0]["finish_reason"] for event in events]
        assert reasons == [None] * (len(events) - 1) + [whole["choices"][0]["finish_reason"]]


def test_a_stream_with_echo_begins_with_the_prompt(server):
    events = server.post("/v1/completions", {"prompt": "The Sea", "max_tokens": 3, "stream": True,
                                             "echo": True}).events()
    assert events[0]["choices"][0]["text"] == "The Sea"


@pytest.mark.parametrize("field, value", [
    ("temperature", 3), ("n", 0), ("logprobs", 1), ("best_of", 2), ("suffix", "x"),
    ("prompt", ["a", "b"]), ("prompt", [1, 2]), ("stream_options", True),
    ("stream_options", {"include_usage": 1}), ("stop", 5)])
def test_what_cannot_be_done_is_refused(server, field, value):
    answer = server.post("/v1/completions", {field: value})
    assert answer.status == 400
    assert error_of(answer)["param"] == field


def test_models(server):
    models = server.ask("GET", "/v1/models").json()
    assert models["object"] == "list"
    assert models["data"][0]["id"] == server.ask("GET", "/health").json()["model"]


def test_tokens_there_and_back(server):
    answer = server.post("/tokenize", {"text": "Once upon a TIME, naïve 😀"}).json()
    assert answer["count"] == len(answer["tokens"]) > 4
    again = server.post("/detokenize", {"tokens": answer["tokens"]}).json()["text"]
    assert again.startswith("once upon a time,")
    prompt = server.generate(prompt="Once upon a TIME, naïve 😀", max_tokens=1)
    assert prompt["usage"]["prompt_tokens"] == answer["count"] + 1  # bos
    assert server.post("/tokenize", {"text": ""}).json()["tokens"] == []
    assert server.post("/detokenize", {"tokens": []}).json()["text"] == ""


@pytest.mark.parametrize("path, body, param", [
    ("/tokenize", {"text": 1}, "text"), ("/tokenize", {"txt": "a"}, "text"),
    ("/tokenize", {"text": "a", "more": 1}, "text"), ("/detokenize", {"tokens": "a"}, "tokens"),
    ("/detokenize", {"tokens": ["a"]}, "tokens"), ("/detokenize", {"tokens": [1.5]}, "tokens"),
    ("/detokenize", {"tokens": [-1]}, "tokens"), ("/detokenize", {"tokens": [1e300]}, "tokens")])
def test_wrong_bodies_for_tokens(server, path, body, param):
    answer = server.post(path, body)
    assert answer.status == 400
    assert error_of(answer)["param"] == param


def test_ids_that_are_no_tokens(server):
    assert server.post("/detokenize", {"tokens": [1000000]}).status == 400
