"""Capitals: the field `case` in every dialect, whole and streamed; stop strings and prompts."""
import os
import re
import subprocess

import pytest
from conftest import BIN, MODEL

# Long enough for sentences, and with a quote and a name in it whatever the model is.
STORY = {"prompt": "Once upon a time, a girl named Zorblax said, \"", "seed": 4, "temperature": 0.7}


def completion_of(answer):
    return answer.json()["choices"][0]["text"]


def truecase(text):
    """What alpaca-tokenizer makes of the text, with the table of the model that is served."""
    output = subprocess.run([BIN / "alpaca-tokenizer", "truecase", "--model", MODEL],
                            input=text + "\n", capture_output=True, text=True, check=True).stdout
    return output.removesuffix("\n")


def test_natural_is_the_default_and_lower_is_what_the_model_writes(server):
    natural = server.generate(**STORY)
    lower = server.generate(**STORY, case="lower")
    assert natural["completion"] != lower["completion"] == lower["completion"].lower()
    assert natural["completion"].lower() == lower["completion"]
    assert server.generate(**STORY, case="natural")["story"] == natural["story"]
    assert server.generate(**STORY, case=None)["story"] == natural["story"]
    assert natural["story"] == STORY["prompt"] + natural["completion"]
    assert natural["usage"]["completion_tokens"] == lower["usage"]["completion_tokens"]


def test_the_story_has_the_capitals_that_its_whole_text_gets(server):
    story = server.generate(prompt="", seed=7)["story"]
    assert story == truecase(story.lower()) and story[0].isupper()


def test_the_prompt_comes_back_as_it_was_sent(server):
    prompt = "the DOG was named zorb. One day, Quibby and Zorb"
    story = server.generate(prompt=prompt, seed=1, max_tokens=30)["story"]
    assert story.startswith(prompt)


@pytest.mark.parametrize("fields", [{}, {"n": 3}, {"stop": [" THE"]}, {"max_tokens": 7},
                                    {"prompt": "Once upon a ti"}, {"prompt": "one. "}])
def test_a_stream_has_the_capitals_of_the_whole_answer(server, fields):
    wish = {**STORY, "max_tokens": 120, **fields}
    whole = server.generate(**wish)
    events = server.post("/generate", {**wish, "stream": True}).events()
    completions = [story["completion"] for story in whole.get("stories", [whole])]
    for index, completion in enumerate(completions):
        texts = [event["text"] for event in events if isinstance(event, dict) and "text" in event
                 and event.get("index", 0) == index]
        assert "".join(texts) == completion


def test_plain_text_has_capitals_too(server):
    text = server.post("/generate", STORY, {"Accept": "text/plain"}).text
    stream = server.post("/generate", {**STORY, "stream": True}, {"Accept": "text/plain"}).text
    assert text == stream == server.generate(**STORY)["story"] + "\n"


def test_completions_stay_as_the_tokens_are_unless_asked(server):
    lower = completion_of(server.post("/v1/completions", STORY))
    natural = completion_of(server.post("/v1/completions", {**STORY, "case": "natural"}))
    assert lower == lower.lower() == natural.lower() != natural
    assert natural == server.generate(**STORY)["completion"]


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_speak_of_tokens_whatever_the_case(server, stream):
    wish = {**STORY, "logprobs": 1, "echo": True, "max_tokens": 60, "stream": stream}

    def lists(case):
        answer = server.post("/v1/completions", {**wish, "case": case})
        parts = answer.events() if stream else [answer.json()]
        parts = [part for part in parts if part != "[DONE]"]
        choices = [choice for part in parts for choice in part["choices"]]
        text, joined = "", {"tokens": [], "token_logprobs": [], "top_logprobs": [],
                            "text_offset": []}
        for choice in choices:
            text += choice["text"]
            for name in joined:
                joined[name] += (choice["logprobs"] or {name: []})[name]
            if choice["text"] and stream and choice is not choices[0]:
                # An event lists the tokens whose text begins in it.
                assert all(offset < len(text) for offset in choice["logprobs"]["text_offset"])
        return text, joined

    (lower, of_lower), (natural, of_natural) = lists("lower"), lists("natural")
    assert of_natural == of_lower and natural.lower() == lower.lower() and natural != lower
    assert len(of_lower["tokens"]) > 60


def test_chat_has_capitals(server):
    wish = {**{name: STORY[name] for name in ("seed", "temperature")},
            "messages": [{"role": "user", "content": STORY["prompt"]}]}
    content = server.post("/v1/chat/completions", wish).json()["choices"][0]["message"]["content"]
    assert content == server.generate(**STORY)["story"]
    events = server.post("/v1/chat/completions", {**wish, "stream": True}).events()
    deltas = [choice["delta"] for event in events[:-1] for choice in event["choices"]]
    assert "".join(delta.get("content", "") for delta in deltas) == content
    lower = server.post("/v1/chat/completions", {**wish, "case": "lower"}).json()
    story = server.generate(**STORY, case="lower")["story"]
    assert lower["choices"][0]["message"]["content"] == story


def test_stop_texts_match_whatever_their_case(server):
    whole = server.generate(**STORY)["completion"]
    at = whole.index(" ", len(whole) // 2)
    for stop in (whole[at:at + 8].upper(), whole[at:at + 8].lower(), whole[at:at + 8].title()):
        for case in ("natural", "lower"):
            cut = server.generate(**STORY, stop=stop, case=case)
            end = whole.lower().index(stop.lower())
            expected = whole if case == "natural" else whole.lower()
            assert cut["completion"] == expected[:end] and cut["finish_reason"] == "stop"


@pytest.mark.parametrize("value, said", [("upper", '"upper"'), (1, "1"), (True, "true or false"),
                                         ([], "a list")])
@pytest.mark.parametrize("path", ["/generate", "/v1/completions", "/v1/chat/completions"])
def test_another_case_is_refused_by_name(server, path, value, said):
    answer = server.post(path, {"messages": [{"role": "user", "content": "a"}], "case": value}
                         if "chat" in path else {"case": value})
    error = answer.json()["error"]
    assert answer.status == 400 and error["param"] == "case"
    assert error["message"] == f'case must be "natural" or "lower", not {said}'


def test_tell_has_the_capitals_of_the_server(server):
    command = [BIN / "alpaca-tell", "--model", MODEL, "--seed", "4", "--quiet", STORY["prompt"]]
    for options, case in (([], "natural"), (["--case", "lower"], "lower")):
        written = subprocess.run([*command, *options], capture_output=True, text=True, check=True,
                              env={**os.environ, "ALPACA_TEMPERATURE": "0.7"}).stdout
        assert written == server.generate(**STORY, case=case)["story"] + "\n"
    wrong = subprocess.run([*command, "--case", "upper"], capture_output=True, text=True)
    assert wrong.returncode == 1 and '--case is natural or lower, not "upper"' in wrong.stderr


def test_a_model_without_a_table_gets_sentence_beginnings_and_i(start, tmp_path):
    for file in MODEL.iterdir():
        if file.name != "truecase.txt":
            (tmp_path / file.name).symlink_to(file)
    server = start(model=tmp_path)
    story = server.generate(prompt="Tom said, \"Yes.", seed=3)["completion"]
    assert any(letter.isupper() for letter in story)
    assert not re.search(r"[a-z,] (?!I\b)[A-Z]", story), story  # names are the table's
    (tmp_path / "truecase.txt").write_text("nonsense")
    refused = subprocess.run([BIN / "alpaca-server", "--model", tmp_path, "--port", "0"],
                             capture_output=True, text=True)
    assert refused.returncode != 0 and "is no table for capitals" in refused.stderr
