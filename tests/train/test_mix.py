"""alpaca-train fit --mix: what it refuses. Its recipe "all" in test_fit.py trains with it."""

import pytest

from test_fit import data, fit  # noqa: F401


@pytest.mark.parametrize("mix", ["file", "file:0.5", "file:2:0.5", "file:0.5:x", ":0.5:0.5",
                                 "file:0.5:-1", "file:0.5:", "x" * 5000 + ":0.5:0.5"])
def test_a_mixture_needs_a_file_and_two_shares(data, tmp_path, mix):
    output = fit(data, tmp_path, "--mix", mix, status=2)
    assert "--mix must be FILE:SHARE:UNTIL, with SHARE and UNTIL from 0 to 1" in output


def test_a_mixture_is_not_empty(data, tmp_path):
    output = fit(data, tmp_path, "--mix", "", status=2)
    assert "--mix needs a value, FILE:SHARE:UNTIL" in output


def test_a_mixture_that_is_not_there_is_named(data, tmp_path):
    assert "nowhere.txt" in fit(data, tmp_path, "--mix", "nowhere.txt:0.5:0.5", status=1)
