"""Lines that tokenizers get wrong, and text to train small vocabularies on; the same every time."""

import random

WORDS = (
    "once upon a time there was little girl named lily who loved to play with her red ball in the "
    "park one day she saw big dog and cat they were very happy friends mom said be careful sun "
    "tree Don't don't \"hello!\" said, asked. the The THE end! 12 1,000 3.14 ran fast slow jumping "
    "jumped e-mail café naïve Straße fiancée Ωmega ηλιος солнце Привет мир 東京 日本語 ひらがな カタカナ 안녕 "
    "שלום مرحبا नमस्ते สวัสดี 😀 👍🏽 ﬁne ｆｕｌｌ ½ ① ™ … — “quoted” ‘single’ xy xyz abc abcd foo bar"
).split()

CHARACTERS = [
    # white space of every kind, and things that look like it
    " ", "  ", "\t", "\r", "\v", "\f", "\u00a0", "\u3000", "\u2003", "\u2009", "\u202f", "\u205f",
    "\u1680", "\u2028", "\u2029", "\u0085", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff",
    "\u00ad", "\u180e", "\u2581", "\u2581\u2581", " \u2581 ",
    # combining marks, precomposed and not, in and out of order
    "e\u0301", "\u0301", "a\u0323\u0302", "a\u0302\u0323", "\u1e9b\u0323", "A\u030a", "\u212b",
    "\u0344", "\u0958", "q\u0307\u0323", "n\u0303", "\u3099", "か\u3099", "\uac00", "\u1100\u1161",
    "\u1100\u1161\u11a8", "I\u0307", "\u0130", "\u0131", "ſ", "\u1e9e", "ß", "ς", "Σ",
    # compatibility forms
    "ﬁ", "ﬂ", "ﬃ", "\ufdfa", "①", "㋿", "㌔", "ｶﾞ", "Ａｂｃ", "１２", "！", "～", "ǆ", "²", "ª",
    "℀", "№", "⅓", "Ⅻ", "ᴴ", "\u2126", "\U0001d400", "\U0001f100", "\ufb1d", "\u2f00", "\uf900",
    # emoji with modifiers and joiners, flags
    "😀", "👩‍👩‍👧‍👦", "👍🏽", "🏳️‍🌈", "🇩🇪", "❤️", "\ufe0f", "\u20e3", "1️⃣",
    "\U0001f9d1\u200d\U0001f680",
    # control characters
    "\0", "\x01", "\x07", "\b", "\x1b", "\x1f", "\x7f", "\x80", "\x9f", "\ufff9", "\ufffc",
    "\ufffd", "\ufffe", "\uffff", "\U0010ffff", "\U000e0041", "\ue000", "\u202e", "\u2066",
    # what the vocabulary itself is made of
    "<s>", "</s>", "<unk>", "<pad>", "<0x41>", "<0x0A>", "<sep>", "<ctl>", "⁇", " ⁇ ", "▁the",
    "the▁",
    # scripts
    "Ж", "ж", "東", "한", "ا", "א", "अ", "ก", "Ა", "ა", "Ꭰ", "ꭰ", "𐐀", "𐐨", "Ǆ", "ǅ",
    # punctuation
    "'", "\"", "``", "''", "...", "…", "–", "-", "\u2010", "\u2212", ".", ",", "!", "?", "/", "\\",
]

BROKEN = [  # never valid UTF-8
    b"\x80", b"\xbf", b"\xc0", b"\xc1", b"\xc0\x80", b"\xc1\xbf", b"\xc2", b"\xe0\x80\x80",
    b"\xe0\xa0", b"\xe2\x96", b"\xe2", b"\xe2\x28\xa1", b"\xed\xa0\x80", b"\xed\xbf\xbf",
    b"\xed\xa0\xbd\xed\xb8\x80", b"\xf0\x80\x80\x80", b"\xf0\x9f", b"\xf0\x9f\x98",
    b"\xf0\x28\x8c\xbc", b"\xf4\x90\x80\x80", b"\xf5",
    b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"\xfe", b"\xff", b"\xff\xfe", b"a\xcc",
    b"\xef\xbf", b"\xe3\x81", b"\xef\xbb",
]


def training_text(lines=2500, seed=1):
    rng = random.Random(seed)
    return "\n".join(
        " ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 14))) for _ in range(lines)
    ) + "\n"


def _part(rng, extra):
    kind = rng.random()
    if kind < 0.34:
        word = rng.choice(WORDS)
        return rng.choice([word, word.upper(), word.title(), word + " ", " " + word]).encode()
    if kind < 0.70:
        return rng.choice(CHARACTERS).encode()
    if kind < 0.76:
        return rng.choice(BROKEN)
    if kind < 0.82:
        return (rng.choice(CHARACTERS) * rng.randint(2, 9)).encode()
    if kind < 0.86:
        return b" " * rng.randint(1, 12)
    if kind < 0.90:
        return rng.choice(extra or WORDS).encode()
    if kind < 0.94:
        code = rng.choice([0x250, 0x530, 0x3000, 0x10000, 0x20000, 0x110000])
        code = rng.randrange(code)
        return chr(code).encode() if not 0xD800 <= code < 0xE000 else b"\xed\xa0\x80"
    if kind < 0.97:
        return bytes(rng.randrange(256) for _ in range(rng.randint(1, 6)))
    return bytes(rng.choice(b"abcxyz<>s/ ") for _ in range(rng.randint(1, 20)))


def lines(count, seed=2, extra=()):
    """`count` lines of bytes, none with a newline; `extra`: words that a model treats specially."""
    rng = random.Random(seed)
    fixed = [b"", b" ", b"   ", b"\t", b"\0", b"\r", b"\xe2\x96\x81", b"\xe2\x96\x81 \xe2\x96\x81",
             b"\xe2\x80\x8b", b" \xe2\x80\x8b ", b"<s>", b"</s>", b"<unk>", b"\xff", b"a", b" a ",
             b"a\0b", b"hello\r", b"\xef\xbb\xbfbom", b"\xe2\x81\x87"]
    fixed += [text.encode() for text in CHARACTERS] + BROKEN + [word.encode() for word in extra]
    while len(fixed) < count:
        parts = rng.choice([1, 2, 3, 5, 8, 13, 40])
        fixed.append(b"".join(_part(rng, extra) for _ in range(parts)))
    return [line.replace(b"\n", b" ") for line in fixed[:count]]


def long_lines():
    """A few lines where anything quadratic would be noticed."""
    rng = random.Random(3)
    return [
        b"a" * 1_000_000,
        b"ab" * 300_000,
        bytes(rng.choice(b"abcdefghijklmnopqrstuvwxyz") for _ in range(500_000)),
        ("é" * 100_000 + "日本語" * 50_000).encode(),
        " ".join(rng.choice(WORDS) for _ in range(100_000)).encode(),
        b" " * 200_000 + b"x",
        b"\xff" * 200_000,
        ("\u0301" * 100_000).encode(),
    ]
