"""best_of: several stories of a prompt are generated, and the best of them sent."""
import statistics

import pytest
from conftest import error_of, together
from tiny_model import write_model

WISH = {"prompt": "the little fox", "seed": 40, "temperature": 1, "max_tokens": 24}


def complete(server, **fields):
    answer = server.post("/v1/completions", fields)
    assert answer.status == 200, answer.text
    return answer.json()


def ranked(server, count, **fields):
    """The choices of so many candidates, the best first, by what a client can see of them."""
    choices = complete(server, **{"logprobs": 0, **fields}, n=count)["choices"]
    return sorted(choices, key=lambda each: -statistics.fmean(each["logprobs"]["token_logprobs"]))


def test_the_choices_are_those_with_the_highest_log_probability_per_token(server):
    best = ranked(server, 8, **WISH)
    assert [each["seed"] for each in best] != list(range(40, 48))  # or it would be too easy
    for n in (1, 3, 8):
        body = complete(server, **WISH, n=n, best_of=8)
        if n == 8:  # nothing to compare: they stay as they are
            assert [each["seed"] for each in body["choices"]] == list(range(40, 48))
            continue
        assert [each["index"] for each in body["choices"]] == list(range(n))
        assert body["seed"] == best[0]["seed"]
        for each, expected in zip(body["choices"], best):
            assert all(each[name] == expected[name] for name in ("text", "seed", "finish_reason"))
            assert each["logprobs"] is None


def repetition(tokens):
    """The share of the runs of four tokens that were there before."""
    runs = [tuple(tokens[at:at + 4]) for at in range(len(tokens) - 3)]
    return 1 - len(set(runs)) / len(runs)


def as_a_story(choice):
    """Its likelihood, less for repetition, and for hardly being one or having no end."""
    logprobs = choice["logprobs"]
    is_part = len(logprobs["tokens"]) < 60 or choice["finish_reason"] == "length"
    return (statistics.fmean(logprobs["token_logprobs"]) - 4 * repetition(logprobs["tokens"])
            - 2 * is_part)


def test_a_story_is_the_better_when_it_is_whole_and_repeats_itself_less(server):
    fields = {"prompt": "they packed their bags and", "temperature": 0.4, "max_tokens": 90}
    likeliest = []
    for seed in range(0, 80, 8):
        by_likelihood = ranked(server, 8, **fields, seed=seed)
        best = max(by_likelihood, key=as_a_story)
        story = server.generate(**fields, seed=seed, best_of=8)
        assert (story["completion"].lower(), story["seed"]) == (best["text"], best["seed"])
        likeliest.append(best["seed"] == by_likelihood[0]["seed"])
    assert not all(likeliest)


def test_the_seed_of_the_best_alone_gives_it_again(server):
    for fields in (WISH, {**WISH, "stop": [".", "the"], "max_tokens": 60}):
        best = server.generate(**fields, best_of=6)
        assert best["seed"] in range(40, 46)
        for more in ({}, {"best_of": 1}):
            again = server.generate(**{**fields, "seed": best["seed"]}, **more)
            assert (again["story"], again["seed"]) == (best["story"], best["seed"])
            assert again["finish_reason"] == best["finish_reason"]
    text = server.post("/generate", {**WISH, "best_of": 6}, {"Accept": "text/plain"}).text
    assert text == server.generate(**WISH, best_of=6)["story"] + "\n"


def test_each_prompt_has_candidates_of_its_own(server):
    prompts = ["the little fox", "a big red boat", "once"]
    fields = {"temperature": 1, "max_tokens": 16, "logprobs": 0}
    body = complete(server, prompt=prompts, seed=40, n=2, best_of=5, **fields)
    assert [each["index"] for each in body["choices"]] == list(range(6))
    for number, prompt in enumerate(prompts):
        expected = ranked(server, 5, prompt=prompt, seed=40 + 5 * number, **fields)
        for each, other in zip(body["choices"][2 * number:], expected[:2]):
            assert {**each, "index": 0} == {**other, "index": 0}


def test_a_chat_can_have_the_best_of_several_too(server):
    messages = [{"role": "user", "content": WISH["prompt"]}]
    fields = {name: value for name, value in WISH.items() if name != "prompt"}
    choice, = server.post("/v1/chat/completions",
                          {"messages": messages, **fields, "best_of": 6}).json()["choices"]
    best = server.generate(**WISH, best_of=6)
    assert (choice["message"]["content"], choice["seed"]) == (best["story"], best["seed"])


def test_usage_counts_all_candidates(server):
    prompts = ["the little fox", "a big red boat"]
    fields = {"prompt": prompts, "seed": 4, "temperature": 1}
    alls = complete(server, **fields, n=5)["usage"]
    best = complete(server, **fields, best_of=5)["usage"]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert best[name] == alls[name]
    assert best["completion_tokens"] > 5 * 2
    last = server.post("/generate", {**WISH, "best_of": 4, "stream": True}).events()[-2]
    assert last["usage"]["completion_tokens"] == \
        server.generate(**WISH, n=4)["usage"]["completion_tokens"]


@pytest.mark.parametrize("n", [1, 2])
def test_a_stream_begins_with_the_best(server, n):
    fields = {**WISH, "n": n, "best_of": 6}
    stories = server.generate(**fields)
    stories = stories["stories"] if n > 1 else [stories]
    events = server.post("/generate", {**fields, "stream": True}).events()
    texts = [event for event in events[:-1] if "text" in event]
    ends = [event for event in events[:-1] if "finish_reason" in event]
    # Each is known as a whole when it is sent, so it comes in one piece.
    assert [event["text"] for event in texts] == [story["completion"] for story in stories]
    assert [event["seed"] for event in ends] == [story["seed"] for story in stories]
    text = server.post("/generate", {**WISH, "best_of": 6, "stream": True},
                       {"Accept": "text/plain"})
    assert text.text == server.generate(**WISH, best_of=6)["story"] + "\n"


def test_lists_and_echo_are_those_of_the_best(server):
    fields = {**WISH, "prompt": "The Fox", "echo": True, "logprobs": 2}
    best, = complete(server, **fields, best_of=5)["choices"]
    alone, = complete(server, **{**fields, "seed": best["seed"]})["choices"]
    assert best == alone
    events = server.post("/v1/completions", {**fields, "best_of": 5, "stream": True}).events()[:-1]
    parts = [event["choices"][0] for event in events]
    assert "".join(part["text"] for part in parts) == best["text"]
    lists = [part["logprobs"] for part in parts if part["logprobs"]]
    for name, values in best["logprobs"].items():
        assert sum((part[name] for part in lists), []) == values
    assert parts[-1]["seed"] == best["seed"]


def test_nothing_to_compare_is_the_first(server):
    for path in ("/generate", "/v1/completions"):
        answer = server.post(path, {"prompt": "a", "max_tokens": 0, "best_of": 4, "seed": 9})
        assert answer.status == 200 and answer.json()["seed"] == 9


def test_the_best_is_the_same_at_any_load(start):
    """Forty requests for the best of up to eight at once, where six stories run at a time.

    All are taken: candidates after the first fill half of the queue, and besides them each
    request has one at most, so the queue needs room for twice the forty."""
    server = start("--slots", "6", "--queue", "80")
    wishes = [{**WISH, "prompt": f"there were {index} foxes and", "seed": 100 * index,
               "best_of": 1 + index % 8, "stream": index % 3 == 0} for index in range(40)]

    def ask(index):
        answer = server.post("/generate", wishes[index])
        assert answer.status == 200, answer.text
        if not wishes[index]["stream"]:
            return answer.json()["completion"], answer.json()["seed"]
        *texts, last, done = answer.events()
        assert done == "[DONE]"
        return "".join(event["text"] for event in texts), last["seed"]

    at_once = together(40, ask)
    assert at_once == [ask(index) for index in range(40)]
    assert any(seed % 100 for _, seed in at_once)


@pytest.mark.parametrize("path", ["/generate", "/v1/completions"])
@pytest.mark.parametrize("fields, message", [
    ({"best_of": 0}, "best_of must be a whole number from 1 to 16, not 0"),
    ({"best_of": 17}, "best_of must be a whole number from 1 to 16, not 17"),
    ({"best_of": 1.5}, "best_of must be a whole number from 1 to 16, not 1.5"),
    ({"best_of": "4"}, "best_of must be a whole number from 1 to 16, not a string"),
    ({"best_of": 2, "n": 3}, "best_of must be at least n, which is 3, not 2"),
    ({"best_of": 16, "n": 32}, "best_of must be at least n, which is 32, not 16")])
def test_what_best_of_may_not_be(server, path, fields, message):
    answer = server.post(path, fields)
    assert answer.status == 400
    error = error_of(answer)
    assert (error["param"], error["message"]) == ("best_of", message)


def test_more_candidates_than_thirty_two_are_refused(server):
    fields = {"prompt": ["a", "b", "c"], "max_tokens": 1}
    answer = server.post("/v1/completions", {**fields, "best_of": 11})
    assert answer.status == 400
    error = error_of(answer)
    assert error["param"] == "best_of"
    assert error["message"] == "best_of must be a whole number from 1 to 10 with 3 prompts, not 11"
    assert complete(server, **fields, best_of=10)["usage"]["completion_tokens"] <= 30
    assert complete(server, prompt=["a", "b"], max_tokens=1, best_of=16)["choices"]


# ---- the weights that a seed belongs to ----------------------------------------------------------

def test_answers_say_which_weights_their_seed_belongs_to(server, start, tmp_path):
    mark = server.generate(max_tokens=1)["system_fingerprint"]
    assert mark.startswith("fp_") and len(mark) == 13
    messages = [{"role": "user", "content": "a"}]
    for path, body in (("/v1/completions", {}), ("/v1/chat/completions", {"messages": messages})):
        body = {**body, "max_tokens": 2}
        assert server.post(path, body).json()["system_fingerprint"] == mark
        events = server.post(path, {**body, "stream": True}).events()[:-1]
        assert {event["system_fingerprint"] for event in events} == {mark}
    others = [start("--slots", "1"), start("--slots", "1", "--numeric", "f32"),
              start("--slots", "1", model=write_model(tmp_path / "tiny"))]
    marks = [other.generate(max_tokens=1)["system_fingerprint"] for other in others]
    assert marks[0] == mark and len(set(marks)) == 3
