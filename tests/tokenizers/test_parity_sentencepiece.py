"""SentencePiece, as it is and with reordered pieces, against the `sentencepiece` library.

docs/tokenizers.md explains the one kind of difference.
"""

import importlib.util
from pathlib import Path

import pytest
import sentencepiece
from tokenizers import normalizers

from tfllm.tokenizers import SentencePieceTokenizer
from tfllm.tokenizers.sentencepiece_model import CONTROL, UNKNOWN, parse_model, set_pieces

_specification = importlib.util.spec_from_file_location("parity_texts", Path(__file__).with_name("parity_texts.py"))
parity_texts = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(parity_texts)
SPECIAL = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
FIRST = [("<s>", 0.0, CONTROL), ("<pad>", 0.0, CONTROL), ("</s>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN)]


@pytest.fixture(scope="module")
def texts(shared_data, torture_rounds):
    return parity_texts.read_texts(shared_data, torture_rounds(6_000, 50_000))


@pytest.fixture(scope="module", params=["test_model.model", "test_ja_model.model"])
def published(request, shared_models):
    return (shared_models / "sentencepiece" / request.param).read_bytes()


def reordered(content):
    """The model with its pieces in the order of XLM-RoBERTa's ids."""
    model = parse_model(content, "the model")
    pieces = [(piece.piece, piece.score, piece.type) for piece in model.pieces]
    set_pieces(model, [*FIRST, *pieces[3:], ("<mask>", 0.0, CONTROL)])
    return model.SerializeToString()


def check(processor, ours, theirs):
    """Assert that ids are equal, or of exactly the same score: ties, which versions of the library break otherwise."""
    ties = 0
    for one, other in zip(ours, theirs, strict=True):
        if one != other:
            scores = [sorted(processor.get_score(number) for number in ids) for ids in (one, other)]
            assert scores[0] == pytest.approx(scores[1], abs=1e-6)
            assert processor.decode(one) == processor.decode(other)
            ties += 1
    assert ties <= len(ours) // 200


def shifted_back(rows):
    """Ids of the published model, of ids in the order of XLM-RoBERTa."""
    return [[{3: 0, 0: 1, 2: 2}.get(number, number - 1) for number in row] for row in rows]


@pytest.mark.parametrize(
    "options", [(), ("lowercase",), ("strip_accents",), ("lowercase", "strip_accents", "join_quotes")]
)
def test_ids_are_those_of_the_library(published, texts, options):
    processor = sentencepiece.SentencePieceProcessor(model_proto=published)
    ours = SentencePieceTokenizer(reordered(published), SPECIAL, 2, **dict.fromkeys(options, True))
    parts = [normalizers.Replace(two, '"') for two in ("``", "''") if "join_quotes" in options]
    parts += [normalizers.NFKD(), normalizers.StripAccents()] if "strip_accents" in options else []
    parts += [normalizers.Lowercase()] if "lowercase" in options else []
    reference = normalizers.Sequence(parts)
    found = ours.tokenize(texts)
    check(processor, shifted_back(found.to_list()), processor.encode([reference.normalize_str(text) for text in texts]))
    assert ours.tokenize_with_offsets(texts).ids.to_list() == found.to_list()
