"""The draft model: stories are the same with it and without, and the server says what it did."""
import subprocess

import pytest

from conftest import BIN, MODEL, ROOT, Server

# The smallest model has none that could draft for it.
DRAFTED = MODEL if MODEL.name != "small" else ROOT / "weights/mini"
STORY = {"prompt": "once upon a time there was a little boy who", "max_tokens": 120, "seed": 3}


def drafts(metrics):
    return (metrics["alpaca_draft_proposed_tokens_total"],
            metrics["alpaca_draft_accepted_tokens_total"])


@pytest.fixture(scope="module")
def expected():
    """The stories without a draft: plain, penalized, and with log-probabilities."""
    server = Server("--draft", "off", model=DRAFTED)
    stories = [ask(server) for ask in ASKS]
    proposed, accepted = drafts(server.metrics())
    server.stop()
    assert (proposed, accepted) == (0, 0)
    return stories


def whole(server):
    return server.generate(**STORY)["story"]


def penalized(server):
    return server.generate(**STORY, temperature=1, top_p=0.9, repetition_penalty=1.2,
                           stop=["the end"])["story"]


def streamed(server):
    events = server.post("/generate", {**STORY, "stream": True}).events()
    return "".join(event.get("text", "") for event in events if event != "[DONE]")


def logprobs(server):
    answer = server.post("/v1/completions", {**STORY, "logprobs": 2}).json()
    return answer["choices"][0]["logprobs"]


ASKS = [whole, penalized, streamed, logprobs]


@pytest.mark.parametrize("options", [[], ["--draft-tokens", "3"], ["--draft-tokens", "16"]])
def test_stories_are_the_same_with_a_draft(expected, options):
    server = Server(*options, model=DRAFTED)
    assert [ask(server) for ask in ASKS] == expected
    proposed, accepted = drafts(server.metrics())
    log = server.log()
    server.stop()
    assert proposed >= accepted > 0
    assert "drafting with" in log


@pytest.mark.parametrize("options, message", [
    (["--draft-tokens", "17"], "--draft-tokens must be auto or a whole number, 1 to 16"),
    (["--draft-tokens", "0"], "--draft-tokens must be auto or a whole number, 1 to 16"),
    (["--draft", "no/such/folder"], "no/such/folder"),
    (["--draft", "weights/small", "--numeric", "f32"], "a draft works with --numeric int8 only"),
])
def test_wrong_options_are_refused(options, message):
    run = subprocess.run([BIN / "alpaca-server", "--port", "0", "--model", MODEL, *options],
                         capture_output=True, text=True)
    assert run.returncode == 1
    assert message in run.stderr
