"""Small tokenizers of all kinds, trained once on text written here."""

import pytest

from tfllm.tokenizers import train_byte_bpe, train_sentencepiece, train_wordpiece

TEXTS = [
    "The kettle was still warm when Ms. O'Neill came home, and the cat had eaten the fish.",
    "A café on the corner sells naïve paintings for $4.99 – or 3.50 € on Sundays.",
    'He wrote: "Unbelievable!" and underlined unbelievably, believe and belief (twice).',
    "Die Straße nach Köln ist größer als die nächste Straße, aber die Brücke ist gesperrt.",
    "我昨天在北京的一家小饭馆吃了面条，味道很好！",
    "这台电脑很快，但是屏幕太小；我不会再买了。",
    "한국어 문장도 하나 있습니다.",
    "Привет, как дела? Всё хорошо.",
    "Weather: sunny, 21 °C ☀️; family 👨‍👩‍👧 went to the sea.",
]


@pytest.fixture(scope="session")
def texts():
    return list(TEXTS)


@pytest.fixture(scope="session")
def wordpiece():
    return train_wordpiece(TEXTS * 3, vocabulary_size=500)


@pytest.fixture(scope="session")
def sentencepiece():
    return train_sentencepiece(TEXTS * 3, vocabulary_size=500)


@pytest.fixture(scope="session")
def byte_bpe():
    return train_byte_bpe(TEXTS * 3, vocabulary_size=500)


@pytest.fixture(scope="session", params=["wordpiece", "sentencepiece", "byte_bpe"])
def tokenizer(request):
    return request.getfixturevalue(request.param)
