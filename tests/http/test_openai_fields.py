"""Fields of OpenAI's completions: what they do, what means nothing, and what is refused by name."""
import pytest
from conftest import error_of

GREEDY = {"prompt": "once upon a time", "temperature": 0, "max_tokens": 60}


def complete(server, **fields):
    answer = server.post("/v1/completions", fields)
    assert answer.status == 200, answer.text
    return answer.json()


def choice(server, **fields):
    return complete(server, **fields)["choices"][0]


def ids_of(server, text):
    return server.post("/tokenize", {"text": text}).json()["tokens"]


# ---- penalties and biases -----------------------------------------------------------------------

@pytest.mark.parametrize("presence, frequency", [(2, 0), (0, 2), (1.5, -0.5), (-2, -2),
                                                 (0.5, 0.25)])
def test_penalties_follow_the_formula(server, presence, frequency):
    """The likeliest tokens are listed as they are without penalties, so the choice can be worked
    out from them, unless one that is not listed may have won."""
    answer = choice(server, **GREEDY, presence_penalty=presence, frequency_penalty=frequency,
                    logprobs=5)
    counts, checked = {}, 0

    def penalty(token):
        return presence * (token in counts) + frequency * counts.get(token, 0)

    for token, likeliest in zip(answer["logprobs"]["tokens"], answer["logprobs"]["top_logprobs"]):
        left = {each: value - penalty(each) for each, value in likeliest.items()}
        highest_of_others = min(likeliest.values()) + max([0] + [-penalty(each) for each in counts])
        if max(left.values()) > highest_of_others:
            assert token == max(left, key=left.get)
            checked += 1
        counts[token] = counts.get(token, 0) + 1
    assert checked > 10


@pytest.mark.parametrize("field", ["presence_penalty", "frequency_penalty"])
def test_penalties_change_stories_in_both_dialects(server, field):
    plain = server.generate(**GREEDY, case="lower")["completion"]
    penalized = server.generate(**GREEDY, **{field: 2}, case="lower")["completion"]
    assert penalized != plain
    assert choice(server, **GREEDY, **{field: 2})["text"] == penalized
    assert choice(server, **GREEDY, **{field: 0})["text"] == plain
    assert choice(server, **GREEDY, **{field: None})["text"] == plain


def test_penalties_do_not_count_the_prompt(server):
    for prompt in ("the dog", "the cat the cat the cat"):
        wish = {"prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": 5}
        plain = choice(server, **wish)
        penalized = choice(server, **wish, presence_penalty=2, frequency_penalty=2)
        assert {**penalized, "seed": 0} == {**plain, "seed": 0}


def test_a_banned_token_never_comes_and_a_forced_one_always(server):
    plain = choice(server, **GREEDY, logprobs=0)["logprobs"]["tokens"]
    word, = ids_of(server, "a")
    assert " a" in plain
    banned = choice(server, **GREEDY, logprobs=5, logit_bias={str(word): -100})["logprobs"]
    assert " a" not in banned["tokens"]
    assert any(" a" in likeliest for likeliest in banned["top_logprobs"])  # as the model thinks
    for settings in ({}, {"temperature": 2, "seed": 1}, {"frequency_penalty": 2, "top_k": 5}):
        forced = choice(server, **{**GREEDY, "max_tokens": 5, **settings},
                        logit_bias={str(word): 100})
        assert forced["text"] == " a" * 5 and forced["finish_reason"] == "length"


def test_a_bias_may_be_a_matter_of_degree(server):
    wish = {**GREEDY, "max_tokens": 1, "logprobs": 5}
    (first, one), (second, two) = list(choice(server, **wish)["logprobs"]["top_logprobs"][0]
                                       .items())[:2]
    number, = ids_of(server, second)
    assert choice(server, **wish, logit_bias={number: one - two - 0.01})["text"] == first
    assert choice(server, **wish, logit_bias={number: one - two + 0.01})["text"] == second
    assert server.generate(**GREEDY, logit_bias={number: one - two + 0.01})["completion"] \
        .startswith(second)


def test_a_story_without_its_end_goes_on_to_the_last_token(server):
    end = 2  # eos
    answer = server.generate(prompt="the end.", seed=3, logit_bias={end: -100})
    assert answer["finish_reason"] == "length"
    assert answer["usage"]["total_tokens"] == 256
    answer = server.generate(prompt="the end.", seed=3, logit_bias={end: 100})
    assert answer["finish_reason"] == "stop" and answer["completion"] == ""


def test_three_hundred_biases(server):
    bias = {str(number): -100 for number in range(300, 600)}
    assert choice(server, **GREEDY, logit_bias=bias)["text"]
    answer = server.post("/v1/completions", {"logit_bias": {**bias, "700": 1}})
    assert answer.status == 400 and error_of(answer)["param"] == "logit_bias"


@pytest.mark.parametrize("path", ["/generate", "/v1/completions"])
@pytest.mark.parametrize("value", [
    5, [], "x", {"-1": 1}, {"a": 1}, {"": 1}, {"1.0": 1}, {"01": 1}, {" 1": 1}, {"1000000": 1},
    {"99999999999": 1}, {"5": 101}, {"5": -100.5}, {"5": "1"}, {"5": None}, {"5": True}])
def test_wrong_biases_are_refused(server, path, value):
    answer = server.post(path, {"logit_bias": value, "max_tokens": 1})
    assert answer.status == 400
    assert error_of(answer)["param"] == "logit_bias"


def test_a_bias_given_twice_is_refused(server):
    answer = server.post("/generate", '{"logit_bias": {"5": 1, "6": 1, "5": 2}}')
    assert answer.status == 400
    assert error_of(answer)["param"] == "logit_bias"


# ---- what means nothing, and what is refused ----------------------------------------------------

@pytest.mark.parametrize("fields", [
    {"suffix": ""}, {"suffix": None}, {"logprobs": False}, {"best_of": 1}, {"best_of": None},
    {"n": 3, "best_of": 3}, {"seed": None}, {"logit_bias": {}}, {"logit_bias": None},
    {"response_format": {"type": "text"}}, {"response_format": None}, {"grammar": ""},
    {"stop_token_ids": []}, {"ignore_eos": False}, {"min_tokens": 0}, {"length_penalty": 1},
    {"repeat_penalty": 1.0}, {"guided_json": None}, {"stream_options": None}, {"user": "me"},
    {"service_tier": "auto", "store": True, "metadata": {"a": "b"}}])
def test_what_asks_for_nothing_changes_nothing(server, fields):
    answer = choice(server, **GREEDY, **fields)
    expected = choice(server, **GREEDY)
    assert {**answer, "seed": 0} == {**expected, "seed": 0}


@pytest.mark.parametrize("path", ["/generate", "/v1/completions"])
def test_a_seed_of_minus_one_is_drawn(server, path):
    seeds = {server.post(path, {"seed": -1, "max_tokens": 1}).json()["seed"] for _ in range(3)}
    assert len(seeds) == 3 and min(seeds) >= 0


@pytest.mark.parametrize("field, value", [
    ("suffix", "x"), ("suffix", 5), ("best_of", 17), ("best_of", 0), ("best_of", "1"),
    ("response_format", {"type": "json_object"}), ("response_format", {"type": "json_schema"}),
    ("response_format", {}), ("response_format", "json"), ("grammar", 'root ::= "a"'),
    ("json_schema", {"type": "object"}), ("json_schema", {}), ("guided_json", {"type": "object"}),
    ("guided_regex", "a+"), ("guided_choice", ["a", "b"]), ("guided_grammar", "x"),
    ("structured_outputs", {"regex": "a"}), ("stop_token_ids", [5]), ("ignore_eos", True),
    ("min_tokens", 5), ("use_beam_search", True), ("length_penalty", 2), ("repeat_penalty", 1.1),
    ("mirostat", 2), ("n_predict", 5), ("bad_words", ["x"]), ("truncate_prompt_tokens", 5),
    ("prompt_logprobs", 0), ("include_stop_str_in_output", True), ("stream_options", {}),
    ("stream_options", {"include_usage": True}), ("stream_options", {"include_usage": False})])
def test_what_cannot_be_done_is_refused_by_name(server, field, value):
    answer = server.post("/v1/completions", {field: value, "max_tokens": 1})
    assert answer.status == 400
    error = error_of(answer)
    assert error["param"] == field and field in error["message"]


# ---- prompts without a story --------------------------------------------------------------------

def test_a_prompt_can_be_scored(server):
    wish = {"prompt": "the little dog ran to", "echo": True, "logprobs": 2}
    more = choice(server, **wish, max_tokens=1)
    body = complete(server, **wish, max_tokens=0)
    only, = body["choices"]
    assert only["text"] == wish["prompt"] and only["finish_reason"] == "length"
    tokens = len(ids_of(server, wish["prompt"]))
    assert len(only["logprobs"]["tokens"]) == tokens
    for name, values in only["logprobs"].items():
        assert values == more["logprobs"][name][:tokens]
    assert body["usage"]["completion_tokens"] == 0
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] == tokens + 1
    streamed = server.post("/v1/completions", {**wish, "max_tokens": 0, "stream": True}).events()
    first, last, done = streamed
    assert done == "[DONE]" and first["choices"][0]["text"] == wish["prompt"]
    assert first["choices"][0]["logprobs"] == only["logprobs"]
    assert last["choices"][0]["finish_reason"] == "length"


def test_no_tokens_without_echo_are_an_empty_text(server):
    body = complete(server, prompt="the dog", max_tokens=0, n=2)
    assert [each["text"] for each in body["choices"]] == ["", ""]
    assert {each["finish_reason"] for each in body["choices"]} == {"length"}
    assert body["usage"]["completion_tokens"] == 0
    story = server.generate(prompt="The dog", max_tokens=0)
    assert story["story"] == "The dog" and story["completion"] == ""


# ---- what answers say ---------------------------------------------------------------------------

def test_every_choice_has_its_seed(server):
    wish = {"prompt": ["the cat", "the dog"], "n": 2, "seed": 7, "max_tokens": 8, "temperature": 1}
    body = complete(server, **wish)
    assert [each["seed"] for each in body["choices"]] == [7, 8, 9, 10] and body["seed"] == 7
    for each in body["choices"]:
        alone = choice(server, **{**wish, "n": 1, "prompt": wish["prompt"][each["index"] // 2],
                                  "seed": each["seed"]})
        assert alone["text"] == each["text"] and alone["seed"] == each["seed"]
    drawn = complete(server, prompt="a", n=2, max_tokens=1)
    assert [each["seed"] for each in drawn["choices"]] == [drawn["seed"], drawn["seed"] + 1]
    ends = [event["choices"][0] for event in
            server.post("/v1/completions", {**wish, "stream": True}).events()[:-1]]
    seeds = {each["index"]: each["seed"] for each in ends if each["finish_reason"]}
    assert seeds == {0: 7, 1: 8, 2: 9, 3: 10}


def cached(usage):
    return usage["prompt_tokens_details"]["cached_tokens"]


def test_tokens_that_were_cached_are_counted(start):
    server = start("--slots", "4")
    prompts = ["once upon a time there was a dragon", "the little boat went out to the sea"]
    wish = {"max_tokens": 3, "seed": 1}
    first = complete(server, **wish, prompt=prompts[0])["usage"]
    assert cached(first) == 0
    again = complete(server, **wish, prompt=prompts[0])["usage"]
    assert cached(again) == again["prompt_tokens"] - 1  # the last is always computed
    both = complete(server, **wish, prompt=prompts, n=2)["usage"]  # its own choices do not count
    assert cached(both) == cached(again)
    assert cached(server.generate(**wish, prompt=prompts[1])["usage"]) > 0
    events = server.post("/v1/completions", {**wish, "prompt": prompts[0], "stream": True,
                                             "stream_options": {"include_usage": True}}).events()
    assert cached(events[-2]["usage"]) == cached(again)
    events = server.post("/generate", {**wish, "prompt": prompts[0], "stream": True}).events()
    assert cached(events[-2]["usage"]) == cached(again)
    scored = complete(server, **wish, prompt=prompts[0], echo=True, logprobs=0)["usage"]
    assert cached(scored) == 0  # every logit of it is wanted


def test_thirty_two_stories_may_be_asked_for(server):
    prompts = [f"there were {number} cats" for number in range(32)]
    choices = complete(server, prompt=prompts, max_tokens=4, seed=1, echo=True)["choices"]
    assert len(choices) == 32
    assert all(each["text"].startswith(prompt) for each, prompt in zip(choices, prompts))
    assert len(server.generate(n=32, max_tokens=2)["stories"]) == 32
