"""Holds the hand-written pairs to what makes them a fair test: nothing but the prompt decides.

A continuation is right after one prompt and wrong after another, so a model that ignores prompts,
or likes some words more than others, passes half of them.
"""
import collections
import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAIRS = [json.loads(line)
         for line in (ROOT / "evaluation/pairs.jsonl").read_text("utf-8").splitlines()]


def test_there_are_80_of_each_kind():
    assert collections.Counter(pair["kind"] for pair in PAIRS) == {
        "factual": 80, "reasoning": 80, "context": 80}
    assert all(set(pair) == {"kind", "prompt", "right", "wrong"} for pair in PAIRS)


def test_no_prompt_is_there_twice():
    prompts = [" ".join(pair["prompt"].lower().split()) for pair in PAIRS]
    assert len(set(prompts)) == len(prompts)


def test_no_continuation_is_recognized_by_its_words():
    for kind in ["factual", "reasoning", "context"]:
        pairs = [pair for pair in PAIRS if pair["kind"] == kind]
        # Each two are right once and wrong once.
        assert collections.Counter((pair["right"], pair["wrong"]) for pair in pairs) \
            == collections.Counter((pair["wrong"], pair["right"]) for pair in pairs)


def test_the_two_of_a_pair_are_alike():
    for pair in PAIRS:
        right, wrong = pair["right"], pair["wrong"]
        assert right != wrong
        assert abs(len(right.split()) - len(wrong.split())) <= 1, pair
        assert [c for c in right if c in '".,?!'] == [c for c in wrong if c in '".,?!'], pair


def test_prompts_and_continuations_join_with_one_space():
    for pair in PAIRS:
        for text in [pair["prompt"], pair["right"], pair["wrong"]]:
            assert text == " ".join(text.split()) and text.isascii(), pair
        # A quotation that the prompt opens is closed by either continuation, and by nothing else.
        assert (pair["prompt"] + pair["right"]).count('"') % 2 == 0, pair


def runs_of_four_words(text):
    words = re.findall(r"[a-z']+", text.lower())
    return {tuple(words[i:i + 4]) for i in range(len(words) - 3)}


def test_no_pair_is_near_a_prompt_of_the_original():
    original = json.loads((ROOT / "evaluation/original.json").read_text("utf-8"))
    prompts = [prompt["prompt"] for prompt in original["prompts"] + original["continuations"]]
    assert len(prompts) == 26
    theirs = set().union(*map(runs_of_four_words, prompts))
    assert [pair["prompt"] for pair in PAIRS if runs_of_four_words(pair["prompt"]) & theirs] == []
