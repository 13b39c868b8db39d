"""alpaca-tokenizer gives what spm_encode and spm_decode give: every id, every byte.

Small vocabularies are trained here with every option that changes encoding or decoding, some
models are edited into forms that no option gives, and all read the same nasty lines.
"""

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

import model_edit
import nasty

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("ALPACA_BIN", ROOT / "build/release")) / "alpaca-tokenizer"
SHIPPED = sorted(path.parent.name for path in ROOT.glob("weights/*/tokenizer.model"))
MISSING = [tool for tool in ("spm_train", "spm_encode", "spm_decode") if not shutil.which(tool)]

if MISSING and os.environ.get("CI") != "true":
    pytest.skip("needs SentencePiece's " + ", ".join(MISSING), allow_module_level=True)

SYMBOLS = ["<sep>", "abc", "ab", "xyz", "é", "日本", "😀", "THE", "a b", "\u2581x", "ﬁ"]
COMMON = {"vocab_size": 420, "model_type": "bpe", "character_coverage": 0.99,
          "hard_vocab_limit": "false", "num_threads": 1, "minloglevel": 1}
OPTIONS = {
    "reference": {"normalization_rule_name": "nmt_nfkc_cf", "unk_id": 0, "bos_id": 1, "eos_id": 2,
                  "pad_id": 3},
    "nmt_nfkc": {"normalization_rule_name": "nmt_nfkc"},
    "nfkc": {"normalization_rule_name": "nfkc"},
    "nfkc_cf": {"normalization_rule_name": "nfkc_cf"},
    "identity": {"normalization_rule_name": "identity"},
    "bytes": {"byte_fallback": "true", "vocab_size": 700},
    "bytes_identity": {"byte_fallback": "true", "vocab_size": 700,
                       "normalization_rule_name": "identity", "remove_extra_whitespaces": "false",
                       "allow_whitespace_only_pieces": "true", "split_digits": "true"},
    "symbols": {"user_defined_symbols": ",".join(SYMBOLS), "control_symbols": "<ctl>,<other>"},
    "symbols_folded": {"user_defined_symbols": ",".join(SYMBOLS + ["<s>"]),
                       "normalization_rule_name": "nmt_nfkc_cf",
                       "remove_extra_whitespaces": "false"},
    "symbols_bytes": {"user_defined_symbols": ",".join(SYMBOLS), "byte_fallback": "true",
                      "vocab_size": 700, "add_dummy_prefix": "false"},
    "keep_spaces": {"remove_extra_whitespaces": "false"},
    "no_prefix": {"add_dummy_prefix": "false"},
    "as_it_is": {"add_dummy_prefix": "false", "remove_extra_whitespaces": "false"},
    "suffix": {"treat_whitespace_as_suffix": "true"},
    "suffix_spaces": {"treat_whitespace_as_suffix": "true", "remove_extra_whitespaces": "false",
                      "allow_whitespace_only_pieces": "true"},
    "across_words": {"split_by_whitespace": "false", "split_by_unicode_script": "false",
                     "max_sentencepiece_length": 40},
    "no_specials": {"bos_id": -1, "eos_id": -1, "unk_surface": "", "unk_piece": "?"},
    "surface": {"unk_surface": "[what]", "bos_piece": "<begin>", "pad_id": 3},
}


def run(tool, *arguments, data):
    done = subprocess.run([str(tool), *map(str, arguments)], input=data, capture_output=True)
    assert done.returncode == 0, (tool, done.returncode, done.stderr[-500:])
    return done.stdout


def train(folder, name, **options):
    corpus = folder / "corpus.txt"
    if not corpus.exists():
        corpus.write_text(nasty.training_text(), encoding="utf-8")
    flags = [f"--{key}={value}" for key, value in {**COMMON, **options}.items()]
    run("spm_train", f"--input={corpus}", f"--model_prefix={folder / name}", *flags, data=b"")
    return folder / f"{name}.model"


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


def encode_both(model, lines):
    data = b"".join(line + b"\n" for line in lines)
    theirs = run("spm_encode", f"--model={model}", "--output_format=id", data=data)
    ours = run(BINARY, "encode", "--model", model, data=data)
    return theirs.split(b"\n"), ours.split(b"\n")


def assert_same(theirs, ours, source):
    assert len(theirs) == len(ours) == len(source) + 1
    wrong = [i for i in range(len(source)) if theirs[i] != ours[i]]
    shown = [(source[i][:300], theirs[i][:300], ours[i][:300]) for i in wrong[:3]]
    assert not wrong, f"{len(wrong)} of {len(source)} lines differ: {shown}"


def random_ids(count, pieces, seed=4):
    """Lines of ids: special ones and byte pieces, which come first, more often than others."""
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        low = rng.choice([8, 8, 270, pieces, pieces])
        made.append(" ".join(str(rng.randrange(min(low, pieces) if rng.random() < 0.6 else pieces))
                             for _ in range(rng.choice([0, 1, 2, 3, 8, 30]))).encode())
    return made


def check_model(model, count, extra=()):
    lines = nasty.lines(count, extra=extra)
    theirs, ours = encode_both(model, lines)
    assert_same(theirs, ours, lines)
    assert len(set(theirs)) > count // 2  # the lines did not all come to nothing
    pieces = model_edit.piece_count(Path(model).read_bytes())
    ids = theirs[:-1] + random_ids(count, pieces)
    data = b"".join(line + b"\n" for line in ids)
    decoded = run("spm_decode", f"--model={model}", "--input_format=id", data=data)
    ours = run(BINARY, "decode", "--model", model, data=data)
    if decoded != ours:  # a decoded byte may be a newline, so find the first difference in bytes
        at = next(i for i, (a, b) in enumerate(zip(decoded + b"\0", ours + b"\1")) if a != b)
        pytest.fail(f"decoding differs: {decoded[max(0, at - 80):at + 80]!r} is "
                    f"{ours[max(0, at - 80):at + 80]!r}")


@pytest.mark.parametrize("name", OPTIONS)
def test_trained_models_encode_and_decode_the_same(folder, name):
    check_model(train(folder, name, **OPTIONS[name]), 1500, extra=SYMBOLS)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models_encode_and_decode_the_same(name):
    check_model(ROOT / "weights" / name / "tokenizer.model", 20_000)


def test_twenty_thousand_lines_are_the_same(folder):
    check_model(train(folder, "many", **OPTIONS["reference"]), 20_000)


@pytest.mark.parametrize("name", ["reference", "bytes_identity", "across_words", "symbols"])
def test_very_long_lines_are_the_same(folder, name):
    lines = nasty.long_lines()
    if name == "across_words":  # here the whole line is one run of merges
        lines = lines[:1] + lines[4:5]
    theirs, ours = encode_both(train(folder, "long_" + name, **OPTIONS[name]), lines)
    assert_same(theirs, ours, lines)


def test_rules_of_the_users_own_apply(folder):
    """A normalizer and a denormalizer from rules of the user's own, longest match first."""
    rules = {"A": "a", "AB": "xyz", "ABC": "  ", "é": "", "\u00a0": " ", "!": " ! ", "日": "日本語"}
    table = folder / "rules.tsv"
    table.write_text("".join(
        " ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) + "\n"
        for a, b in rules.items()), encoding="utf-8")
    model = train(folder, "rules", normalization_rule_tsv=table)
    check_model(model, 1500, extra=list(rules) + ["ABD", "AABBC", "!é!"])
    back = folder / "back.tsv"
    back.write_text("61\t41\n74 68 65\t54\n20 2047 20\t3F\n", encoding="utf-8")
    model = train(folder, "denormalized", denormalization_rule_tsv=back)
    check_model(model, 1500)


def edited(folder, name, base, change):
    model = train(folder, name + "_base", **OPTIONS[base])
    path = folder / f"{name}.model"
    path.write_bytes(change(model.read_bytes()))
    return path


@pytest.mark.parametrize("base", ["reference", "bytes", "across_words"])
def test_unused_pieces_are_taken_apart_again(folder, base):
    """Unused pieces are merged through, then taken apart again."""
    rng = random.Random(5)

    def unused(_, text, kind):
        return {3: (0, 5)} if kind == 1 and rng.random() < 0.4 else None

    check_model(edited(folder, "unused_" + base, base,
                       lambda model: model_edit.edit_pieces(model, unused)), 3000)


@pytest.mark.parametrize("score", [lambda i: 0.0, lambda i: float(-(i % 7)), lambda i: float(i)])
def test_equal_scores_merge_from_the_left(folder, score):
    """Equal scores merge from the left; the order of pieces in the file does not matter."""
    check_model(edited(folder, "scores", "reference", lambda model: model_edit.edit_pieces(
        model, lambda i, text, kind: {2: (5, model_edit.float_bits(score(i)))})), 1500)


def test_texts_that_are_there_twice(folder):
    """A piece with a special piece's text counts as the special one."""
    names = {50: b"</s>", 60: b"<unk>", 70: b"<pad>"}
    check_model(edited(folder, "twice", "reference", lambda model: model_edit.edit_pieces(
        model, lambda i, text, kind: {1: (2, names[i])} if i in names else None)), 500)


def test_spaces_left_as_spaces(folder):
    """escape_whitespaces=false, which no trainer flag sets."""
    check_model(edited(folder, "unescaped", "reference",
                       lambda model: model_edit.edit_part(model, 3, 5, 0, 0)), 1500)


def test_settings_by_default(folder):
    """Without normalizer settings the defaults of the format hold."""
    def bare(model):
        return model_edit.message([f for f in model_edit.fields(model) if f[0] != 3])

    check_model(edited(folder, "bare", "reference", bare), 1500)


def test_unknown_fields_are_skipped(folder):
    def extended(model):
        extra = model_edit.message([(300, 0, 7), (301, 2, b"new"), (302, 5, b"abcd"),
                                    (303, 1, b"abcdefgh")])
        group = b"\xa3\x13\x08\x01\xa4\x13"  # field 308: a group with a varint inside
        return extra + group + model_edit.edit_pieces(
            model, lambda i, text, kind: {250: (2, b"note")}) + group

    check_model(edited(folder, "extended", "reference", extended), 500)


def test_input_lines_are_read_alike(folder):
    """No newline at the end, carriage returns, NULs, nothing at all."""
    model = train(folder, "lines", **OPTIONS["reference"])
    for data in (b"", b"\n", b"\n\n", b"the end", b"the end\n", b"a\r\nb\r\n", b"\0\n\0",
                 b"\n\nthe"):
        theirs = run("spm_encode", f"--model={model}", "--output_format=id", data=data)
        assert run(BINARY, "encode", "--model", model, data=data) == theirs, data
    for data in (b"", b"\n", b"5\n6", b" 5  6 \n", b"0 0 1 2 3\n"):
        theirs = run("spm_decode", f"--model={model}", "--input_format=id", data=data)
        assert run(BINARY, "decode", "--model", model, data=data) == theirs, data


def test_errors_are_reported(folder):
    model = train(folder, "errors", **OPTIONS["reference"])
    unigram = train(folder, "unigram", model_type="unigram", vocab_size=300)
    broken = folder / "broken.model"
    broken.write_bytes(model.read_bytes()[:5000])
    pieces = model_edit.piece_count(model.read_bytes())
    for arguments, data, words in [
        (["decode", "--model", model], b"5\n%d\n" % pieces, b"line 2"),
        (["decode", "--model", model], b"-1\n", b"line 1"),
        (["decode", "--model", model], b"five\n", b"not an id"),
        (["encode", "--model", unigram], b"a\n", b"BPE"),
        (["encode", "--model", broken], b"a\n", b"broken.model"),
        (["encode", "--model", folder / "none.model"], b"a\n", b"none.model"),
        (["encode", "--model", folder], b"a\n", b"is a folder, not a regular file"),
        (["encode"], b"a\n", b"--model"),
        (["recode", "--model", model], b"a\n", b"recode"),
        ([], b"", b"--help"),
    ]:
        done = subprocess.run([BINARY, *arguments], input=data, capture_output=True)
        assert done.returncode in (1, 2) and words in done.stderr, (arguments, done)
