"""POST /v1/completions, GET /v1/models, /tokenize and /detokenize, by hand.

The real client is in tests/browser/openai.test.mjs."""
import re

import pytest
from conftest import MODEL, counts, error_of, together
from tiny_model import write_model


def test_a_completion_has_the_story_of_generate(server):
    wish = {"prompt": "The sea", "seed": 3, "max_tokens": 12, "temperature": 0.7}
    story = server.generate(**wish, case="lower")
    answer = server.post("/v1/completions", {**wish, "model": "any", "user": "me",
                                             "frequency_penalty": 0, "logprobs": None})
    assert answer.status == 200
    body = answer.json()
    assert body["object"] == "text_completion" and body["id"].startswith("cmpl-")
    assert body["model"] == story["model"] and counts(body) == counts(story)
    assert body["seed"] == 3 and abs(body["created"] - 1.7e9) < 1e9
    assert body["choices"] == [{"index": 0, "text": story["completion"], "logprobs": None,
                                "finish_reason": story["finish_reason"], "seed": 3}]


def test_several_choices_and_echo(server):
    wish = {"prompt": ["The sea"], "seed": 3, "max_tokens": 6, "n": 2, "echo": True}
    choices = server.post("/v1/completions", wish).json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    for choice in choices:
        alone = server.generate(prompt="The sea", seed=3 + choice["index"], max_tokens=6,
                                case="lower")
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
            assert last["choices"] == [] and counts(last) == counts(whole)
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
    ("temperature", 3), ("n", 0), ("logprobs", 6), ("logprobs", -1), ("logprobs", 1.5),
    ("logprobs", True), ("best_of", 17), ("suffix", "x"), ("prompt", []), ("prompt", [[]]),
    ("prompt", ["a"] * 33), ("prompt", ["a", 1]), ("prompt", [1, "a"]), ("prompt", [[1], [-1]]),
    ("prompt", [None]), ("prompt", [1000000]), ("prompt", [300] * 300), ("stream_options", True),
    ("stream_options", {"include_usage": 1}), ("stop", 5)])
def test_what_cannot_be_done_is_refused(server, field, value):
    answer = server.post("/v1/completions", {field: value})
    assert answer.status == 400
    assert error_of(answer)["param"] == field


def test_the_one_model_is_listed(server):
    models = server.ask("GET", "/v1/models").json()
    assert models["object"] == "list"
    model, = models["data"]
    assert model["id"] == server.ask("GET", "/health").json()["model"]
    assert server.ask("GET", f"/v1/models/{model['id']}").json() == model


@pytest.mark.parametrize("name", ["gpt-4", "alpac", "alpaca2", "alpaca/", "a%22b%0a%c3%a9",
                                  "x" * 500])
def test_another_model_is_not_found_in_openais_words(server, name):
    answer = server.ask("GET", f"/v1/models/{name}")
    error = error_of(answer)
    assert answer.status == 404
    assert (error["type"], error["code"], error["param"]) == \
        ("invalid_request_error", "model_not_found", "model")
    assert name.partition("%")[0][:100] in error["message"]


def test_a_model_wants_a_get_and_a_name(server):
    assert server.ask("HEAD", f"/v1/models/{MODEL.name}").status == 200
    answer = server.ask("DELETE", f"/v1/models/{MODEL.name}")
    assert answer.status == 405 and answer.headers["Allow"] == "GET, HEAD, OPTIONS"
    assert error_of(server.ask("GET", "/v1/models/"))["code"] == "not_found"
    counter = 'http_requests_total{path="/v1/models/{id}",method="GET",code="200"}'
    assert server.metrics()[counter] > 0


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
    ("/tokenize", {"text": 1}, "text"), ("/tokenize", {}, "text"), ("/tokenize", "", "text"),
    ("/tokenize", {"text": None}, "text"), ("/tokenize", {"txt": "a"}, "txt"),
    ("/tokenize", {"text": "a", "more": 1}, "more"),
    ("/tokenize", {"text": "a", "pieces": 1}, "pieces"),
    ("/tokenize", {"text": "a", "add_special": "no"}, "add_special"), ("/detokenize", {}, "tokens"),
    ("/detokenize", {"tokens": None}, "tokens"), ("/detokenize", {"tokens": "a"}, "tokens"),
    ("/detokenize", {"tokens": [5, 4000]}, "tokens"),
    ("/detokenize", {"tokens": ["a"]}, "tokens"), ("/detokenize", {"tokens": [1.5]}, "tokens"),
    ("/detokenize", {"tokens": [-1]}, "tokens"), ("/detokenize", {"tokens": [1e300]}, "tokens"),
    ("/detokenize", {"tokens": [5, None]}, "tokens")])
def test_wrong_bodies_for_tokens(server, path, body, param):
    answer = server.post(path, body)
    assert answer.status == 400
    assert error_of(answer)["param"] == param


def test_tokens_with_their_pieces(server):
    text = "Once upon a TIME,  the CAT"
    plain = server.post("/tokenize", {"text": text}).json()
    shown = server.post("/tokenize", {"text": text, "pieces": True}).json()
    assert "".join(shown["pieces"]) == "once upon a time, the cat"
    assert len(shown.pop("pieces")) == shown["count"] and shown == plain
    same = {"text": text, "pieces": False, "add_special": None}
    assert server.post("/tokenize", same).json() == plain
    whole = server.post("/tokenize", {"text": text, "pieces": True, "add_special": True}).json()
    assert whole["tokens"] == [1, *plain["tokens"]] and whole["pieces"][:2] == ["<s>", "once"]
    assert whole["count"] == server.generate(prompt=text, max_tokens=1)["usage"]["prompt_tokens"]
    assert server.post("/tokenize", {"text": "", "pieces": True}).json()["pieces"] == []


@pytest.mark.parametrize("ids, words", [
    ([4000], "0 to 3999, not 4000"), ([300, 2147483647], "0 to 3999, not 2147483647"),
    ([-1], "0 to 3999, not -1"), ([[5], [4000]], "0 to 3999, not 4000"),
    ([[5], [4294967296]], "token ids, not 4294967296"), ([5, 1.5], "token ids, not 1.5"),
    ([5, "a"], "token ids, not a string"), ([[5], [[5]]], "token ids, not a list"),
    ([[5], []], "at least one token id, not a list")])
def test_a_bad_id_in_any_prompt_names_the_prompt(server, ids, words):
    answer = server.post("/v1/completions", {"prompt": ids, "max_tokens": 1})
    assert answer.status == 400
    error = error_of(answer)
    assert error["param"] == "prompt" and words in error["message"]


def test_ids_that_are_no_tokens(server):
    assert server.post("/detokenize", {"tokens": [1000000]}).status == 400


# ---- several prompts ----------------------------------------------------------------------------

def ids_of(server, text):
    return server.post("/tokenize", {"text": text}).json()["tokens"]


def test_every_prompt_has_its_choices(server):
    wish = {"seed": 3, "max_tokens": 6}
    prompts = ["The sea", "a dragon", "", "once upon a time"]
    body = server.post("/v1/completions", {**wish, "prompt": prompts, "n": 2}).json()
    assert [choice["index"] for choice in body["choices"]] == list(range(8))
    stories = [server.generate(**{**wish, "seed": 3 + index}, prompt=prompts[index // 2],
                               case="lower")
               for index in range(8)]
    assert [choice["text"] for choice in body["choices"]] == \
        [story["completion"] for story in stories]
    tokens = sum(story["usage"]["prompt_tokens"] for story in stories[::2])
    assert body["usage"]["prompt_tokens"] == tokens
    assert body["usage"]["completion_tokens"] == \
        sum(story["usage"]["completion_tokens"] for story in stories)


def test_ids_tell_what_their_text_does(server):
    wish = {"seed": 3, "max_tokens": 6, "echo": True}
    texts = ["the sea", "a dragon"]
    expected = server.post("/v1/completions", {**wish, "prompt": texts}).json()
    lists = [ids_of(server, text) for text in texts]
    for prompts in (lists, [[1] + ids for ids in lists]):  # with and without the story's mark
        body = server.post("/v1/completions", {**wish, "prompt": prompts}).json()
        assert body["choices"] == expected["choices"] and counts(body) == counts(expected)
    body = server.post("/v1/completions", {**wish, "prompt": lists[0]}).json()
    assert body["choices"] == expected["choices"][:1]


def test_a_stream_of_several_prompts(server):
    wish = {"prompt": ["The sea", ids_of(server, "a dragon")], "n": 2, "seed": 3, "max_tokens": 6,
            "echo": True}
    whole = server.post("/v1/completions", wish).json()["choices"]
    texts = [""] * 4
    for event in server.post("/v1/completions", {**wish, "stream": True}).events()[:-1]:
        for choice in event["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == [choice["text"] for choice in whole]


@pytest.mark.parametrize("prompts, n, most", [(9, 4, 3), (17, 2, 1), (32, 2, 1), (2, 17, 16)])
def test_all_choices_together_have_a_limit(server, prompts, n, most):
    answer = server.post("/v1/completions", {"prompt": ["a"] * prompts, "n": n, "max_tokens": 1})
    assert answer.status == 400
    error = error_of(answer)
    assert error["param"] == "n" and f"1 to {most} " in error["message"]
    answer = server.post("/v1/completions", {"prompt": ["a"] * prompts, "n": most,
                                             "max_tokens": 1})
    assert len(answer.json()["choices"]) == prompts * most


@pytest.mark.parametrize("as_ids", [False, True])
def test_too_long_prompts_may_be_truncated(server, as_ids):
    text = "one day the dog " * 200
    prompt = ids_of(server, text) if as_ids else text.strip()
    answer = server.post("/v1/completions", {"prompt": prompt, "max_tokens": 1, "truncate": True,
                                             "echo": True, "logprobs": 0})
    choice = answer.json()["choices"][0]
    length = server.ask("GET", "/v1/models").json()["data"][0]["max_model_len"]
    assert answer.json()["usage"]["prompt_tokens"] == length - 1
    assert len(choice["logprobs"]["tokens"]) == length - 1  # without the mark, with the new one
    joins_text(choice, choice["logprobs"]["text_offset"][0])


# ---- log-probabilities --------------------------------------------------------------------------

def joins_text(choice, begin=0):
    """The tokens stand in the text, one after another, where text_offset says."""
    lists, text = choice["logprobs"], choice["text"]
    assert text[begin:] == "".join(lists["tokens"]), text
    for token, offset in zip(lists["tokens"], lists["text_offset"]):
        assert text[offset:offset + len(token)] == token


def check_lists(choice, top, echo=False):
    lists = choice["logprobs"]
    count = len(lists["tokens"])
    assert len(lists["token_logprobs"]) == len(lists["text_offset"]) == count
    assert lists["text_offset"] == sorted(lists["text_offset"])
    assert all(value <= 0 for value in lists["token_logprobs"][echo:])
    if top == 0:
        assert lists["top_logprobs"] is None
        return
    assert len(lists["top_logprobs"]) == count
    rows = zip(lists["tokens"], lists["token_logprobs"], lists["top_logprobs"])
    for token, value, likeliest in list(rows)[echo:]:
        assert top <= len(likeliest) <= top + 1 and likeliest[token] == value
        values = list(likeliest.values())
        assert values[:top] == sorted(values[:top], reverse=True)
        assert len(values) == top or list(likeliest)[-1] == token and value <= values[top - 1]


@pytest.mark.parametrize("top", [0, 1, 5])
def test_logprobs_list_the_tokens_of_the_text(server, top):
    wish = {"prompt": "The sea", "seed": 3, "max_tokens": 30, "n": 2, "temperature": 1.2}
    body = server.post("/v1/completions", {**wish, "logprobs": top}).json()
    plain = server.post("/v1/completions", wish).json()
    for choice, other in zip(body["choices"], plain["choices"]):
        assert choice["text"] == other["text"] and other["logprobs"] is None
        check_lists(choice, top)
        joins_text(choice)
    assert counts(body) == counts(plain)
    assert sum(len(choice["logprobs"]["tokens"]) for choice in body["choices"]) == \
        body["usage"]["completion_tokens"]


def test_greedy_takes_the_likeliest(server):
    choice = server.post("/v1/completions", {"prompt": "the dog", "temperature": 0,
                                             "max_tokens": 40, "logprobs": 1}).json()["choices"][0]
    lists = choice["logprobs"]
    assert all(likeliest == {token: value} for token, value, likeliest
               in zip(lists["tokens"], lists["token_logprobs"], lists["top_logprobs"]))


def test_settings_do_not_change_what_the_model_thinks(server):
    """The first token's alternatives are those of the bare softmax."""
    wish = {"prompt": "the dog", "max_tokens": 1, "logprobs": 5, "seed": 5}
    likeliest = []
    for settings in ({"temperature": 0}, {"temperature": 1}, {"temperature": 2, "top_k": 3},
                     {"repetition_penalty": 2, "top_p": 0.3, "min_p": 0.5}):
        choice = server.post("/v1/completions", {**wish, **settings}).json()["choices"][0]
        likeliest.append(list(choice["logprobs"]["top_logprobs"][0].items())[:5])
    assert likeliest.count(likeliest[0]) == len(likeliest)


def test_echo_lists_the_prompt_too(server):
    wish = {"prompt": "the little dog ran to", "seed": 4, "max_tokens": 8, "logprobs": 2}
    alone = server.post("/v1/completions", wish).json()["choices"][0]
    for repeat in range(2):  # the second time the kv cache has the prompt
        choice = server.post("/v1/completions", {**wish, "echo": True}).json()["choices"][0]
        check_lists(choice, 2, echo=True)
        joins_text(choice)
        lists, count = choice["logprobs"], len(alone["logprobs"]["tokens"])
        assert lists["token_logprobs"][0] is None and lists["top_logprobs"][0] is None
        assert len(lists["tokens"]) == len(ids_of(server, wish["prompt"])) + count
        for name in ("tokens", "token_logprobs", "top_logprobs"):
            assert lists[name][-count:] == alone["logprobs"][name]
    # What was generated, read again as a prompt, is as probable as it was.
    again = server.post("/v1/completions", {**wish, "prompt": choice["text"], "echo": True,
                                            "max_tokens": 1}).json()["choices"][0]["logprobs"]
    assert again["tokens"][:-1] == lists["tokens"]
    assert again["token_logprobs"][:-1] == lists["token_logprobs"]


def test_offsets_count_characters_of_the_answer(server):
    wish = {"prompt": "The  DOG ünd", "seed": 4, "max_tokens": 8, "logprobs": 0}
    alone = server.post("/v1/completions", wish).json()["choices"][0]
    choice = server.post("/v1/completions", {**wish, "echo": True}).json()["choices"][0]
    assert choice["text"] == wish["prompt"] + alone["text"]
    count = len(alone["logprobs"]["tokens"])
    assert choice["logprobs"]["text_offset"][-count:] == \
        [len(wish["prompt"]) + offset for offset in alone["logprobs"]["text_offset"]]
    assert max(choice["logprobs"]["text_offset"][:-count]) <= len(wish["prompt"])


@pytest.mark.parametrize("more", [{}, {"echo": True}, {"stop": [" the", "zz"]},
                                  {"n": 3, "echo": True, "prompt": ["the sea", ""], "stop": ","}])
def test_a_stream_has_the_lists_in_parts(server, more):
    wish = {"prompt": "the sea", "seed": 3, "max_tokens": 40, "logprobs": 3, "temperature": 1,
            **more}
    whole = server.post("/v1/completions", wish).json()["choices"]
    texts = [""] * len(whole)
    lists = [{"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
             for _ in whole]
    for event in server.post("/v1/completions", {**wish, "stream": True}).events()[:-1]:
        choice, = event["choices"]
        index = choice["index"]
        if choice["logprobs"]:
            assert all(len(texts[index]) <= offset <= len(texts[index]) + len(choice["text"])
                       for offset in choice["logprobs"]["text_offset"])
            for name, part in choice["logprobs"].items():
                lists[index][name] += part
        else:
            assert choice["text"] == "" and choice["finish_reason"]
        texts[index] += choice["text"]
    assert texts == [choice["text"] for choice in whole]
    assert lists == [choice["logprobs"] for choice in whole]


def test_a_stop_text_cuts_the_lists_too(server):
    wish = {"prompt": "the sea", "seed": 3, "max_tokens": 40, "logprobs": 1}
    whole = server.post("/v1/completions", wish).json()["choices"][0]
    lists = whole["logprobs"]
    for at in range(1, 30):
        stop = whole["text"][at:at + 3]
        choice = server.post("/v1/completions", {**wish, "stop": stop}).json()["choices"][0]
        end = whole["text"].index(stop)
        count = sum(offset < end for offset in lists["text_offset"])
        assert choice["text"] == whole["text"][:end]
        assert choice["logprobs"] == {name: values[:count] for name, values in lists.items()}


def test_logprobs_of_several_prompts(server):
    wish = {"seed": 3, "max_tokens": 6, "logprobs": 2, "echo": True}
    prompts = ["the sea", "a dragon was"]
    body = server.post("/v1/completions", {**wish, "prompt": prompts}).json()
    for index, choice in enumerate(body["choices"]):
        alone = server.post("/v1/completions", {**wish, "seed": 3 + index,
                                                "prompt": prompts[index]}).json()["choices"][0]
        assert {**alone, "index": index} == choice


def test_logprobs_are_the_same_under_load(start):
    """Other kernels, other threads, other stories at the same time: the same digits."""
    wish = {"prompt": ["the sea", "a dragon"], "seed": 3, "max_tokens": 20, "logprobs": 5, "n": 2,
            "echo": True}
    quiet = start("--cpu", "portable", "--threads", "1", "--prompt-rows", "1")
    expected = quiet.post("/v1/completions", wish).json()["choices"]
    quiet.stop()
    busy = start("--threads", "2", "--slots", "8")
    sockets = busy.occupy(requests=1, n=4)
    got = together(4, lambda _: busy.post("/v1/completions", wish).json()["choices"])
    for connection in sockets:
        connection.close()
    assert got == [expected] * 4


def test_bytes_are_shown_as_bytes(start, tmp_path):
    """The tiny model tells halves of characters all the time."""
    server = start(model=write_model(tmp_path / "tiny"))
    shown = whole = 0
    for seed in range(20):
        wish = {"seed": seed, "temperature": 2, "max_tokens": 60, "logprobs": 5}
        choice = server.post("/v1/completions", wish).json()["choices"][0]
        lists, text = choice["logprobs"], choice["text"]
        check_lists_of_bytes(lists)
        parts = zip(lists["tokens"], lists["text_offset"], lists["text_offset"][1:] + [len(text)])
        for token, begin, end in parts:
            if token.startswith("bytes:\\x"):
                shown += 1
            else:
                whole += 1
                assert text[begin:end] == ("" if token == "<ctl>" else token)
    assert shown > 20 and whole > 20


def check_lists_of_bytes(lists):
    for token, value, likeliest in zip(lists["tokens"], lists["token_logprobs"],
                                       lists["top_logprobs"]):
        assert likeliest[token] == value and 1 <= len(likeliest) <= 6
        assert not token.startswith("bytes:") or re.fullmatch(r"bytes:\\x[89a-f][0-9a-f]", token)
