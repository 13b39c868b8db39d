"""alpaca-bench at a server: it writes a model, starts a server of it, asks, counts and stops it."""
import re
import subprocess

import pytest
from conftest import BIN, ROOT


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench") / "random"
    subprocess.run([BIN / "alpaca-bench", "model", "--preset", "small", "--out", folder,
                    "--tokenizer", ROOT / "weights/small/tokenizer.model"], check=True)
    table = (ROOT / "weights/small/truecase.txt").read_bytes()
    assert (folder / "truecase.txt").read_bytes() == table
    return folder


def bench(*options):
    return subprocess.run([BIN / "alpaca-bench", "serve", "--clients", "3", "--tokens", "7",
                           *options], capture_output=True, text=True, check=True).stdout


def test_a_command_that_there_is_not_is_named():
    result = subprocess.run([BIN / "alpaca-bench", "sreve"], capture_output=True, text=True)
    assert result.returncode == 2 and result.stdout == ""
    assert "no such command: sreve" in result.stderr and "  serve " in result.stderr


@pytest.mark.parametrize("form", [["--stream"], ["--no-stream"],
                                  ["--stream", "--no-keep-alive"],
                                  ["--no-stream", "--no-keep-alive"]])
def test_it_compares_a_server_of_its_own_with_the_engine(model, form):
    output = bench("--model", model, "--requests", "5", "--rounds", "2", *form)
    kind = "stories" if "--no-stream" in form else "streams"
    assert re.search(rf"^3 clients, 10 {kind}, 0 failed", output, re.MULTILINE)
    assert " 7 tokens a story\n" in output  # random weights never end one
    assert re.search(r"ready after \d+ ms\n", output)
    assert re.search(r"the server reaches [1-9]\d*\.\d % of it, with at most [1-9]\d* MB", output)
    assert ("first piece" in output) == (kind == "streams")


def test_it_counts_what_a_running_server_tells(start, model):
    server = start(model=model)
    output = bench("--port", str(server.port), "--requests", "6")
    assert "3 clients, 6 streams, 0 failed" in output
    assert server.until_idle()["alpaca_generation_tokens_total"] == 42
    server.stop()


def test_it_counts_refusals_as_failures(start, model, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("a key that alpaca-bench does not have\n")
    server = start("--api-key-file", str(keys), model=model)
    assert "3 clients, 0 streams, 4 failed" in bench("--port", str(server.port), "--requests", "4")
    server.stop()
