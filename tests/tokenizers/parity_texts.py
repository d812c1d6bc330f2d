"""Texts to compare tokenizers on: lines of real English, Chinese and German, and strings nobody writes."""

import csv
import gzip
import random

LINES = ("wikitext2/valid.txt.gz", "wikitext2/test.txt.gz", "multi30k/train.de.gz", "tatoeba_en_zh/cmn.txt.gz")
TABLE = "chnsenticorp_htl/ChnSentiCorp_htl_all.csv.gz"
FRAGMENTS = [
    *["the", "The", "café", "Größe", "unbelievably", "naïve", "1990,", "3.50", "$4", "e-mail", "http://a.b/c?d=e&f"],
    *[
        "北京",
        "面条，",
        "很好！",
        "\u3000",
        "한국어",
        "にほんご",
        "ไทย",
        "नमस्ते",
        "Привет",
        "שלום",
        "مرحبا",
        "ﷺ",
        "ﬁ",
        "ß",
        "İ",
        "ǅ",
    ],
    *["'s", "'S", "'t", "'T", "'re", "'Re", "'ve", "'VE", "'m", "'ll", "'LL", "'d", "'D", "’s", "'", "''", "``", '"'],
    *[
        " ",
        "  ",
        " " * 7,
        " " * 90,
        "\t",
        "\n",
        "\r\n",
        "\n\n",
        "\u00a0",
        "\u0085",
        "\u2028",
        "\u2029",
        "\u200b",
        "\u1680",
    ],
    *["²", "½", "Ⅷ", "٣", "१", "〇", "①", "𝟘", "৴", "㊿", "0", "12", "007"],
    *[
        "e\u0301",
        "\u0301",
        "z\u0327\u0301",
        "a" + "\u0300" * 30,
        "\u0f71\u0f72",
        "\u302e",
        "\u1d16d\u1d165",
        "각",
        "ㄱ",
    ],
    *["👨‍👩‍👧", "🏳️‍🌈", "👍🏽", "🇩🇪", "☀️", "1️⃣", "🧑‍🚀", "\ufe0f", "\u200d", "𝔘", "𠀀", "\ue000", "\U0010ffff", "\uffff"],
    *[
        "\0",
        "\x01",
        "\x1b[31m",
        "\x7f",
        "\x1c",
        "\ud800",
        "\udc00",
        "\ufffd",
        "\ufeff",
        "\u202eevil\u202c",
        "\u2067x\u2069",
    ],
    *[
        "x" * 99,
        "x" * 101,
        "x" * 401,
        "ab" * 300,
        "中" * 120,
        "-" * 40,
        "=" * 3,
        "...",
        "!?",
        "▁",
        "##",
        "Ġ",
        "Ċ",
        "<0x41>",
    ],
]


def read_texts(shared_data, count):
    """`count` texts, half of them lines as people wrote them, half random strings, always the same."""
    generator = random.Random(0)
    real = []
    for name in LINES:
        with gzip.open(shared_data / name, "rt", encoding="utf-8", newline="") as stream:
            real.append(stream.read().split("\n"))
    with gzip.open(shared_data / TABLE, "rt", encoding="utf-8", newline="") as stream:
        real.append([" ".join(row) for row in csv.reader(stream)])
    texts = [generator.choice(generator.choice(real)) for _ in range(count // 2)]
    characters = [chr(generator.randrange(0x20000)) for _ in range(2000)]
    while len(texts) < count:
        parts = generator.choices(FRAGMENTS, k=generator.randrange(9))
        parts += generator.choices(characters, k=generator.randrange(3))
        generator.shuffle(parts)
        texts.append("".join(parts))
    # The references take no lone surrogates, and the <unk> that WikiText has for rare words for a special token.
    return [text.encode("utf-8", "replace").decode("utf-8").replace("<unk>", "<rare>") for text in texts]
