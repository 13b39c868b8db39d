"""POST /generate: the answer's form, what each field does, and seeds."""
import json
import subprocess

import pytest
from conftest import counts, together


def test_curl_gets_a_story_that_begins_with_the_prompt(server):
    # -d sends the content type of a form; the body is JSON all the same.
    output = subprocess.run(
        ["curl", "-sS", "-f", f"{server.url}/generate", "-d", '{"prompt": "once upon a time"}'],
        capture_output=True, text=True, check=True).stdout
    answer = json.loads(output)
    assert answer["story"].startswith("once upon a time")
    assert answer["story"] == "once upon a time" + answer["completion"]


def test_the_answer_has_every_part(server):
    answer = server.generate(prompt="the cat", max_tokens=5, seed=3)
    assert set(answer) == {"story", "completion", "finish_reason", "seed", "model",
                           "system_fingerprint", "usage", "timings"}
    assert answer["finish_reason"] in ("stop", "length")
    assert answer["seed"] == 3
    usage = answer["usage"]
    assert usage["prompt_tokens"] >= 3  # bos and a piece for each word at least
    assert 0 <= usage["completion_tokens"] <= 5
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert set(answer["timings"]) == {"queue_ms", "prefill_ms", "decode_ms", "tokens_per_second"}
    assert all(value >= 0 for value in answer["timings"].values())


@pytest.mark.parametrize("body", [b"", b"{}", b" \r\n\t", b'{"prompt": null, "seed": null}'])
def test_everything_is_optional(server, body):
    answer = server.post("/generate", body)
    assert answer.status == 200
    assert answer.json()["story"] == answer.json()["completion"]
    assert not answer.json()["story"].startswith(" ")


@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain", "nonsense",
                                          "application/x-www-form-urlencoded",
                                          "multipart/form-data; boundary=x"])
def test_any_content_type_will_do(server, content_type):
    headers = {"Content-Type": content_type} if content_type else {}
    answer = server.post("/generate", {"prompt": "tom", "max_tokens": 2}, headers)
    assert answer.status == 200
    assert answer.json()["story"].startswith("tom")


@pytest.mark.parametrize("prompt", [
    "Once Upon A TIME",          # the tokenizer folds case, the story does not
    "two  spaces   and \n lines\t",
    "naïve café „Zürich“ 日本語 😀 ﬁ",
    'quotes " and \\ and / and \u0001 and \u007f',
    " leading",
    "trailing ",
    "   ",
])
def test_the_prompt_comes_back_exactly(server, prompt):
    answer = server.generate(prompt=prompt, max_tokens=8, seed=1)
    assert answer["story"] == prompt + answer["completion"]
    if prompt[-1].isspace():
        assert not answer["completion"].startswith(" ")


def test_a_given_seed_tells_the_same_story_again(server):
    first = server.generate(prompt="the dog", seed=42, temperature=1)
    again = server.generate(prompt="the dog", seed=42, temperature=1)
    assert first["story"] == again["story"]
    assert counts(first) == counts(again)


def test_a_drawn_seed_is_in_the_answer_and_tells_the_same_story_again(server):
    first = server.generate(prompt="the dog", temperature=1)
    other = server.generate(prompt="the dog", temperature=1)
    assert first["seed"] != other["seed"]
    again = server.generate(prompt="the dog", temperature=1, seed=first["seed"])
    assert again["story"] == first["story"]


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**53 - 1])
def test_seeds_keep_every_bit(server, seed):
    assert server.generate(seed=seed, max_tokens=1)["seed"] == seed


def test_temperature_zero_ignores_the_seed(server):
    stories = {server.generate(prompt="a bird", temperature=0, seed=seed)["story"]
               for seed in range(3)}
    assert len(stories) == 1
    assert server.generate(prompt="a bird", top_k=1, temperature=1)["story"] in stories


def test_max_tokens_is_kept(server):
    answer = server.generate(prompt="a bird", max_tokens=3, seed=1)
    assert answer["usage"]["completion_tokens"] <= 3
    assert answer["finish_reason"] == ("length" if answer["usage"]["completion_tokens"] == 3
                                       else "stop")


def test_a_story_that_does_not_end_is_cut_at_the_last_position(server):
    answers = together(8, lambda index: server.generate(prompt="a bird", temperature=2, seed=index,
                                                        max_tokens=100000))
    lengths = {reason: {answer["usage"]["total_tokens"] for answer in answers
                        if answer["finish_reason"] == reason} for reason in ("stop", "length")}
    assert lengths["length"] == {256}  # so hot, some stories run on
    assert all(length <= 256 for length in lengths["stop"])


def test_stop_strings_end_the_story_before_them(server):
    whole = server.generate(prompt="the boy", seed=5, temperature=1, max_tokens=60)
    text = whole["completion"]
    lower = text.lower()  # their case does not matter
    stop = text[len(text) // 2:][:7]  # spans tokens, most likely
    cut = server.generate(prompt="the boy", seed=5, temperature=1, max_tokens=60, stop=stop)
    assert cut["completion"] == text[:lower.index(stop.lower())]
    assert cut["finish_reason"] == "stop"
    assert cut["usage"]["completion_tokens"] <= whole["usage"]["completion_tokens"]
    earlier = text[len(text) // 4:][:5]
    both = server.generate(prompt="the boy", seed=5, temperature=1, max_tokens=60,
                           stop=["never in there", stop, earlier])
    assert both["completion"] == text[:min(lower.index(stop.lower()), lower.index(earlier.lower()))]


def test_a_stop_string_that_does_not_come_changes_nothing(server):
    whole = server.generate(prompt="the boy", seed=5, max_tokens=30)
    same = server.generate(prompt="the boy", seed=5, max_tokens=30, stop=["THE END", "\u2603"])
    assert same["completion"] == whole["completion"]
    assert same["finish_reason"] == whole["finish_reason"]
    assert counts(same) == counts(whole)


def test_repetition_penalty_and_nucleus_change_the_story(server):
    plain = server.generate(prompt="the the the the", seed=9, temperature=1)["story"]
    for change in ({"repetition_penalty": 2}, {"top_p": 0.05}, {"min_p": 0.9}, {"top_k": 2}):
        changed = server.generate(prompt="the the the the", seed=9, temperature=1, **change)
        assert changed["story"] != plain, change


def test_several_stories_at_once(server):
    answer = server.generate(prompt="a fish", n=3, seed=100, max_tokens=20)
    assert answer["story"] == answer["stories"][0]["story"]
    assert [story["seed"] for story in answer["stories"]] == [100, 101, 102]
    for story in answer["stories"]:
        alone = server.generate(prompt="a fish", seed=story["seed"], max_tokens=20)
        assert alone["story"] == story["story"]
        assert alone["finish_reason"] == story["finish_reason"]


def test_plain_text_is_just_the_story(server):
    story = server.generate(prompt="a fish", seed=1, max_tokens=20)["story"]
    answer = server.post("/generate", {"prompt": "a fish", "seed": 1, "max_tokens": 20},
                         {"Accept": "text/plain"})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text == story + "\n"


def test_a_prompt_that_is_too_long_is_refused_with_both_lengths(server):
    answer = server.post("/generate", {"prompt": "cat " * 400})
    assert answer.status == 400
    error = answer.json()["error"]
    assert error["param"] == "prompt"
    assert "401" in error["message"] and "255" in error["message"]


def test_a_prompt_that_is_too_long_can_be_cut_from_the_left(server):
    long = "cat " * 400 + "and a dog"
    answer = server.generate(prompt=long, truncate=True, max_tokens=4)
    assert answer["story"].startswith(long)
    assert answer["usage"]["prompt_tokens"] == 255


def test_sixty_four_clients_at_once_each_get_their_own_story(server):
    """Half of them as a stream; each story is the one that the server tells alone."""
    wishes = [{"prompt": f"once there were {index} cats and", "seed": 1000 + index,
               "temperature": 1, "max_tokens": 40} for index in range(64)]

    def ask(index):
        if index % 2:
            return server.generate(**wishes[index])
        *pieces, last, done = server.post("/generate", {**wishes[index], "stream": True}).events()
        assert done == "[DONE]"
        return {**last, "completion": "".join(piece["text"] for piece in pieces)}

    at_once = together(64, ask)
    for wish, answer in zip(wishes, at_once):
        alone = server.generate(**wish)
        assert alone["story"].startswith(wish["prompt"])
        for name in ("completion", "finish_reason"):
            assert answer[name] == alone[name]
        assert counts(answer) == counts(alone)
    assert len({answer["completion"] for answer in at_once}) == 64


def test_one_connection_serves_many_requests(server):
    connection = server.connect()
    for index in range(5):
        connection.request("POST", "/generate", json.dumps({"seed": index, "max_tokens": 3}))
        answer = connection.getresponse()
        assert json.loads(answer.read())["seed"] == index
    connection.close()
