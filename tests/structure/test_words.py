"""Holds the words: one word for one thing, the one that CONTRIBUTING.md gives.

Words that were coined here once leave every identifier, comment and message. Ordinary words that
named something which has a usual name leave the identifiers of the C code only.
"""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLACES = ["base", "tokenizer", "model", "engine", "train", "server", "cli", "evaluation", "web",
          "bench", "tests", "public", "docs", "deploy", ".ci", "alpaca", "Makefile", "Dockerfile",
          "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]
TEXTS = {".c", ".h", ".cu", ".inc", ".py", ".sh", ".js", ".mjs", ".css", ".html", ".md", ".service",
         ".json", ""}
# Stories, and inputs that machines made.
NOT_OURS = {"node_modules", "package-lock.json", "corpus", "fixtures", "golden", "__pycache__",
            "original.json", "evaluation.json", "grades.json", "evaluation.md", "evaluation.html"}

# Parts of identifiers count as words: tell_news, tellNews and TELL_NEWS all hold "news".
COINED = {
    "storyteller": "engine", "teller": "engine", "told": "generated, written",
    "telling": "completion",
    "news": "output", "herald": "wakeups", "heard": "sampled", "unspoken": "suppressed",
    "weigh": "compute logprobs", "weighs": "compute logprobs", "weighed": "compute logprobs",
    "weighing": "compute logprobs", "cutter": "data loader", "pupil": "student",
    "crowd": "load generator, others", "spinner": "busy loop",
}
COINED_PAIRS = {
    r"slot[_ ]?book": "slots", r"join_digits": "combine high and low",
    r"broken[_ ]tensor": "non-finite check", r"tokenizer_show": "token to piece",
}
# File (a suffix of its path) -> what it may say, and why.
EXCEPTIONS = {
    "public/index.html": ["Stories I told you"],  # the page speaks to whoever reads the stories
    "tests/browser/page.test.mjs": ["Stories I told you"],
    "server/api/openapi.json": ['Told"'],  # clients' generators may name types after this schema
}

# In code without comments and strings: names of what users type or parse are strings there.
RETIRED = {
    r"(?:struct|enum) (?:generation|story_end|exchange|http_exchange)":
        "request, finish reason, transaction",
    r"generation_(?:take|read|cancel|release|create|submit|usage|detach|params)": "request",
    r"story_(?:start|advance|listed|end|request)": "completion",
    r"(?:http_)?exchange_\w+": "transaction", r"watch_(?:entry|add|remove|create)": "disconnects",
    r"compose|compose_\w+|deliver|deliver_\w+": "build batch, emit",
    r"numeric|numeric_\w+|NUMERIC_\w+|\w+_numeric": "dtype",
    r"(?:row|kv)_form|linear_forms?": "dtype",
    r"form_(?:parse|name)": "dtype", r"narrow_\w+|\w+_narrow": "quantized",
    r"log_sums?|reciprocals?": "logsumexp, rstd", r"int8_set\w*": "pack weights",
    r"digest|digest_\w+|\w+_digest": "hash", r"journal|journal_\w+": "training log",
    r"batch_cut\w*|\w*_cursor": "data loader, its state", r"shares": "attention probabilities",
}

WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
RETIRED_NAME = re.compile("|".join(rf"(?P<r{i}>\b(?:{name})\b)" for i, name in enumerate(RETIRED)))
NOT_CODE = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', re.DOTALL)


def texts(root):
    for place in PLACES:
        top = root / place
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            inside = path.relative_to(root)
            if path.is_file() and path.suffix in TEXTS and not NOT_OURS & set(inside.parts):
                if path != pathlib.Path(__file__).resolve():
                    yield inside.as_posix(), path.read_text(encoding="utf-8")


def coined_in(name, line):
    """The coined words of a line, each with what to say instead."""
    if name.endswith(".md") and line.startswith(">"):
        return []  # a story
    for allowed in EXCEPTIONS.get(name, []):
        line = line.replace(allowed, "")
    words = [word.lower() for word in WORD.findall(line)]
    found = [(word, COINED.get(word) or COINED.get(word.removesuffix("s"))) for word in words]
    found += [(pair, instead) for pair, instead in COINED_PAIRS.items()
              if re.search(pair, line.lower())]
    return [(word, instead) for word, instead in found if instead]


def without_comments_and_strings(code):
    return NOT_CODE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), code)


def retired_in(code):
    """(line number, identifier) for each retired one in C code."""
    code = without_comments_and_strings(code)
    return [(code[:match.start()].count("\n") + 1, match[0])
            for match in RETIRED_NAME.finditer(code)]


def test_no_coined_word_is_left():
    found = [f"{name}:{number}: {word}; say {instead}" for name, text in texts(ROOT)
             for number, line in enumerate(text.split("\n"), 1)
             for word, instead in coined_in(name, line)]
    assert found == []


def test_no_retired_identifier_is_left():
    found = [f"{name}:{number}: {identifier}" for name, text in texts(ROOT)
             if name.endswith((".c", ".h", ".cu", ".inc"))
             for number, identifier in retired_in(text)]
    assert found == []


def test_the_exceptions_are_needed():
    said = dict(texts(ROOT))
    assert [(name, text) for name, allowed in EXCEPTIONS.items() for text in allowed
            if text not in said.get(name, "")] == []


def test_the_check_finds_what_it_should():
    for line in ["struct story_teller *t;", "on_news(x)", "setTelling(1)", "HERALD_REST_MS",
                 "a pupil's", "/* what was told */", "slot_book_take()", "the slot book",
                 "Storytellers", "SLOTBOOK"]:
        assert coined_in("engine/a.c", line), line
    for line in ["tell", "alpaca-tell", "a new story", "weights", "telltale", "newspaper", "untold",
                 "execute", "broken JSON", "booking a slot"]:
        assert not coined_in("engine/a.c", line), line
    assert not coined_in("docs/a.md", "> once, he told a story") and coined_in("a.c", "> he told")
    assert not coined_in("public/index.html", "Stories I told you")

    code = ('int numeric_parse(const char *s); /* numeric */\n'
            'x = "--numeric"; // journal\nstruct story_reader *r;\nenum numeric form;\n'
            '/* generation_take()\n */ generation_take(g); y = "\\"digest"; '
            'narrow_linears_create();\n')
    assert retired_in(code) == [(1, "numeric_parse"), (4, "numeric"), (6, "generation_take"),
                                (6, "narrow_linears_create")]
