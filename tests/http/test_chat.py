"""POST /v1/chat/completions by hand: the user's last message begins the story that is the answer.

Real clients are in tests/clients."""
import pytest
from conftest import error_of
from tiny_model import write_model

WISH = {"seed": 3, "max_tokens": 12, "temperature": 0.7}


def user(content):
    return {"role": "user", "content": content}


def chat(server, messages, **fields):
    answer = server.post("/v1/chat/completions", {"messages": messages, **WISH, **fields})
    assert answer.status == 200, answer.text
    return answer.json()


def test_the_answer_is_the_whole_story(server):
    story = server.generate(prompt="The Sea", **WISH)
    answer = chat(server, [user("The Sea")], model="any", user="me", tools=[], tool_choice="auto",
                  response_format={"type": "text"}, logprobs=None, stream=False,
                  modalities=["text"], functions=None, parallel_tool_calls=True, metadata={})
    assert answer["object"] == "chat.completion" and answer["id"].startswith("chatcmpl-")
    assert answer["model"] == story["model"] and answer["seed"] == 3
    assert answer["usage"]["total_tokens"] == story["usage"]["total_tokens"]
    choice, = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": story["story"], "refusal": None}
    assert choice["finish_reason"] == story["finish_reason"] and choice["logprobs"] is None


@pytest.mark.parametrize("messages", [
    [{"role": "system", "content": "You are a pirate."}, user("The sea")],
    [{"role": "developer", "content": [{"type": "image_url"}]}, user("The sea")],
    [user("A dog"), {"role": "assistant", "content": "a dog ran."}, user("The sea")],
    [user([{"type": "image_url", "image_url": {"url": "x"}}]), user("The sea")],
    [user("The sea"), {"role": "assistant", "content": None, "tool_calls": [{}]},
     {"role": "tool", "content": "5", "tool_call_id": "x"}, {"role": "function", "name": "f"}],
    [user([{"type": "text", "text": "The"}, {"type": "text", "text": " "},
           {"type": "text", "text": "sea"}])],
    [{"role": "user", "name": "Ann", "content": "The sea"}]])
def test_only_the_last_message_of_the_user_counts(server, messages):
    content = chat(server, messages)["choices"][0]["message"]["content"]
    assert content == server.generate(prompt="The sea", **WISH)["story"]


def test_an_empty_message_begins_a_story_with_nothing(server):
    expected = server.generate(prompt="", **WISH)["story"]
    for content in ("", [{"type": "text", "text": ""}]):
        assert chat(server, [user(content)])["choices"][0]["message"]["content"] == expected


@pytest.mark.parametrize("stories", [1, 3])
def test_a_streamed_chat_is_the_same(server, stories):
    whole = chat(server, [user("The sea")], n=stories)
    for options in (None, {"include_usage": True}):
        events = server.post("/v1/chat/completions", {
            "messages": [user("The sea")], **WISH, "n": stories, "stream": True,
            "stream_options": options}).events()
        assert events.pop() == "[DONE]"
        if options:
            last = events.pop()
            assert last["choices"] == []
            assert last["usage"]["total_tokens"] == whole["usage"]["total_tokens"]
            assert all(event["usage"] is None for event in events)
        assert {event["object"] for event in events} == {"chat.completion.chunk"}
        assert len({event["id"] for event in events}) == 1
        for expected in whole["choices"]:
            parts = [choice for event in events for choice in event["choices"]
                     if choice["index"] == expected["index"]]
            assert [part["delta"].get("role") for part in parts] == \
                ["assistant"] + [None] * (len(parts) - 1)
            assert "".join(part["delta"].get("content", "") for part in parts) == \
                expected["message"]["content"]
            assert parts[-1]["delta"] == {} and parts[-1]["seed"] == expected["seed"]
            assert [part["finish_reason"] for part in parts] == \
                [None] * (len(parts) - 1) + [expected["finish_reason"]]


def test_the_fields_of_completions_work_in_a_chat(server):
    choices = chat(server, [user("The sea")], n=3)["choices"]
    for choice in choices:
        assert choice["seed"] == 3 + choice["index"]
        alone = server.generate(prompt="The sea", **{**WISH, "seed": choice["seed"]})
        assert choice["message"]["content"] == alone["story"]
    for fields in ({"stop": [" the"], "max_tokens": 100}, {"temperature": 0, "top_k": 3},
                   {"top_p": 0.5, "min_p": 0.1, "repetition_penalty": 1.5}):
        assert chat(server, [user("A dog")], **fields)["choices"][0]["message"]["content"] == \
            server.generate(prompt="A dog", **{**WISH, **fields})["story"]


@pytest.mark.parametrize("limits, expected", [
    ({"max_tokens": None, "max_completion_tokens": 5}, 5),
    ({"max_tokens": 4, "max_completion_tokens": 9}, 4),
    ({"max_tokens": 9, "max_completion_tokens": 4}, 4)])
def test_a_chat_has_two_names_for_its_length(server, limits, expected):
    answer = chat(server, [user("the sea")], **limits)
    assert answer["usage"]["completion_tokens"] == expected
    assert answer["choices"][0]["finish_reason"] == "length"


def test_log_probabilities_of_a_chat_are_those_of_completions(server):
    wish = {"seed": 3, "max_tokens": 6}
    lists = server.post("/v1/completions", {"prompt": "the sea", "logprobs": 3, **wish}).json()
    lists = lists["choices"][0]["logprobs"]
    for top in (None, 0, 3):
        fields = {"messages": [user("the sea")], **wish, "logprobs": True, "top_logprobs": top}
        listed = server.post("/v1/chat/completions", fields).json()["choices"][0]["logprobs"]
        assert listed["refusal"] is None
        listed = listed["content"]
        assert [entry["token"] for entry in listed] == lists["tokens"]
        assert [entry["logprob"] for entry in listed] == lists["token_logprobs"]
        for entry, likeliest in zip(listed, lists["top_logprobs"]):
            assert bytes(entry["bytes"]).decode() == entry["token"]
            assert len(entry["top_logprobs"]) == (top or 0)
            for other in entry["top_logprobs"]:
                assert likeliest[other["token"]] == other["logprob"]
        events = server.post("/v1/chat/completions", {**fields, "stream": True}).events()[:-1]
        streamed = [event["choices"][0]["logprobs"] or {"content": []} for event in events]
        assert [entry for part in streamed for entry in part["content"]] == listed


def test_halves_of_characters_are_listed_as_bytes(start, tmp_path):
    server = start(model=write_model(tmp_path / "tiny"))
    entries = []
    for seed in range(10):
        answer = chat(server, [user("")], seed=seed, temperature=2, max_tokens=60, logprobs=True,
                      top_logprobs=5)
        for entry in answer["choices"][0]["logprobs"]["content"]:
            entries += [entry, *entry["top_logprobs"]]
    halves = [entry for entry in entries if entry["token"].startswith("bytes:\\x")]
    assert len(entries) > len(halves) > 20
    for entry in entries:
        token = entry["token"]
        expected = [int(token[8:], 16)] if entry in halves else list(token.encode())
        assert entry["bytes"] == expected


A = [user("a")]


@pytest.mark.parametrize("body, param, words", [
    ({}, "messages", "missing"), ("", "messages", "missing"),
    ({"messages": None}, "messages", "list"),
    ({"messages": []}, "messages", "role user"), ({"messages": "a"}, "messages", "list"),
    ({"messages": {"role": "user"}}, "messages", "list"),
    ({"messages": [{"role": "system", "content": "a"}]}, "messages", "role user"),
    ({"messages": ["a"]}, "messages", "messages[0]"),
    ({"messages": [{}]}, "messages", "messages[0]"),
    ({"messages": [*A, {"role": "User", "content": "a"}]}, "messages", "messages[1]"),
    ({"messages": [*A, {"role": 1}]}, "messages", "messages[1]"),
    ({"messages": [user(None)]}, "messages", "messages[0].content"),
    ({"messages": [{"role": "user"}]}, "messages", "messages[0].content"),
    ({"messages": [user(5)]}, "messages", "messages[0].content"),
    ({"messages": [user([])]}, "messages", "messages[0].content"),
    ({"messages": [user(["a"])]}, "messages", "without a type"),
    ({"messages": [user([{"type": "text"}])]}, "messages", "no string"),
    ({"messages": [*A, user([{"type": "text", "text": "a"},
                             {"type": "image_url", "image_url": {"url": "x"}}])]},
     "messages", "messages[1].content may have parts of type text only, not image_url"),
    ({"messages": [user([{"type": "input_audio"}])]}, "messages", "input_audio"),
    ({"messages": [user("the cat " * 300)]}, "messages", "255"),
    ({"messages": A, "tools": [{"type": "function"}]}, "tools", "not supported"),
    ({"messages": A, "tool_choice": "required"}, "tool_choice", "not supported"),
    ({"messages": A, "tool_choice": {"type": "function"}}, "tool_choice", "not supported"),
    ({"messages": A, "functions": [{"name": "f"}]}, "functions", "not supported"),
    ({"messages": A, "function_call": {"name": "f"}}, "function_call", "not supported"),
    ({"messages": A, "response_format": {"type": "json_object"}}, "response_format",
     "not supported"),
    ({"messages": A, "modalities": ["text", "audio"]}, "modalities", "not supported"),
    ({"messages": A, "audio": {"voice": "x"}}, "audio", "not supported"),
    ({"messages": A, "logprobs": 2}, "logprobs", "true or false"),
    ({"messages": A, "logprobs": True, "top_logprobs": 6}, "top_logprobs", "0 to 5"),
    ({"messages": A, "top_logprobs": 2}, "top_logprobs", "logprobs"),
    ({"messages": A, "max_completion_tokens": -1}, "max_completion_tokens", "100000"),
    ({"messages": A, "temperature": 3}, "temperature", "0 to 2"),
    ({"messages": A, "messages ": 1, "stop": 5}, "stop", "1 to 4")])
def test_what_a_chat_cannot_do_is_refused_by_its_name(server, body, param, words):
    answer = server.post("/v1/chat/completions", body)
    assert answer.status == 400, answer.text
    error = error_of(answer)
    assert error["param"] == param and words in error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("message, name", [
    ('{"role": "user", "content": "a", "content": "b"}', "content"),
    ('{"role": "system", "content": "a", "role": "user"}', "role"),
    ('{"role": "user", "content": [{"type": "text", "text": "a", "text": "b"}]}', "text"),
    ('{"role": "user", "content": [{"type": "x", "text": "a", "type": "text"}]}', "type")])
def test_a_message_says_everything_once(server, message, name):
    answer = server.post("/v1/chat/completions",
                         '{"messages": [{"role": "user", "content": "c"}, %s]}' % message)
    assert answer.status == 400
    error = error_of(answer)
    assert error["param"] == "messages" and f"messages[1] has {name} twice" in error["message"]


def test_a_beginning_that_is_too_long_may_lose_its_own(server):
    long = [user("the cat " * 300)]
    story = chat(server, long, truncate=True, max_tokens=2)["choices"][0]["message"]["content"]
    assert story.startswith("the cat the cat")


def test_a_streamed_chat_ends_when_its_client_leaves(server):
    server.until_idle()
    with server.send({"messages": [user("a")], "n": 8, "temperature": 2, "stream": True},
                     "/v1/chat/completions") as connection:
        assert connection.recv(12) == b"HTTP/1.1 200"
    server.until_idle()
