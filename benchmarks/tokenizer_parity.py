"""The tokenizers of published checkpoints, in TensorFlow's graph, against the libraries they were published for.

    make parity

50,000 texts for each: half lines of real English, Chinese and German, half made of what breaks tokenizers. Every
difference is counted; of SentencePiece's also whether the two ways to cut have the same score. What was
compared stands in `benchmarks/results/parity.json` and is not repeated: remove it to begin anew.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import machine
import typer

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "tokenizers"))

import parity_texts
import sentencepiece
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from tfllm.tokenizers import ByteBpeTokenizer, SentencePieceTokenizer, Tokenizer, WordPieceTokenizer
from tfllm.tokenizers.sentencepiece_model import CONTROL, UNKNOWN, parse_model, set_pieces
from tfllm.tokenizers.wordpiece import read_vocabulary

CHUNK = 1000
WORD_PIECES = {  # as checkpoints have them
    "uncased BERT": {"lowercase": True},
    "cased BERT": {"lowercase": False},
    "uncased, accents kept": {"lowercase": True, "strip_accents": False},
    "cased, accents stripped": {"lowercase": False, "strip_accents": True},
    "control characters kept": {"lowercase": True, "clean_text": False},
    "Chinese not split": {"lowercase": True, "split_on_cjk": False},
}
END = "<|endoftext|>"
ROBERTA = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
FIRST = [("<s>", 0.0, CONTROL), ("<pad>", 0.0, CONTROL), ("</s>", 0.0, CONTROL), ("<unk>", 0.0, UNKNOWN)]
ALBERT = ("lowercase", "strip_accents", "join_quotes")


class Contest(NamedTuple):
    """A tokenizer of ours and its reference, both from texts to lists of ids; and the score of a list of ids."""

    name: str
    reference: str
    ours: Tokenizer
    theirs: Callable[[list[str]], list[list[int]]]
    shift: Callable[[int], int] = lambda number: number  # our ids as theirs
    score: Callable[[list[int]], float] | None = None


def main(
    data: Annotated[Path, typer.Option(help="Directory of the data sets.")],
    models_directory: Annotated[Path, typer.Option("--models", help="Directory of the vocabularies.")],
    texts: Annotated[int, typer.Option(help="How many for each.")] = 50_000,
) -> None:
    compared = parity_texts.read_texts(data, texts)
    result = machine.load("parity") or {"tokenizers": {}}
    result |= {"machine": machine.describe(), "command": "make parity"}
    for contest in contests(models_directory):
        if result["tokenizers"].get(contest.name, {}).get("texts") != texts:
            result["tokenizers"][contest.name] = compare(contest, compared)
            machine.save("parity", result)


def compare(contest: Contest, texts: list[str]) -> dict:
    """How many texts have other ids, and why."""
    different = ties = 0
    for start in range(0, len(texts), CHUNK):
        chunk = texts[start : start + CHUNK]
        found = [[contest.shift(number) for number in row] for row in contest.ours.tokenize(chunk).to_list()]
        for one, other in zip(found, contest.theirs(chunk), strict=True):
            if one != other:
                different += 1
                ties += contest.score is not None and math.isclose(
                    contest.score(one), contest.score(other), rel_tol=1e-6, abs_tol=1e-5
                )
    print(f"{contest.name}: {different} of {len(texts)} differ, {ties} of them ties", flush=True)
    remark = "" if not different else f"{ties:,} are ties: two ways to cut with the same score"
    return {"reference": contest.reference, "texts": len(texts), "different": different, "ties": ties, "remark": remark}


def contests(directory: Path) -> Iterator[Contest]:
    """Every tokenizer with its reference."""
    rust, pieces = f"tokenizers {tokenizers.__version__}", f"sentencepiece {sentencepiece.__version__}"
    vocabulary = read_vocabulary(directory / "bert-base-uncased" / "vocab.txt")
    for name, options in WORD_PIECES.items():
        yield Contest(f"WordPiece, {name}", rust, *word_pieces(vocabulary, options))
    for name, pair in byte_pairs(directory / "gpt2").items():
        yield Contest(f"byte-level BPE, {name}", rust, *pair)
    for file in ("test_model.model", "test_ja_model.model"):
        content = (directory / "sentencepiece" / file).read_bytes()
        for name, options in (("XLM-RoBERTa", ()), ("ALBERT", ALBERT)):
            title = f"SentencePiece, {name}'s way, {file.removesuffix('.model')}"
            yield Contest(title, pieces, *sentence_pieces(content, options))


def word_pieces(vocabulary: list[str], options: dict) -> tuple:
    """WordPiece with its normalizer's options."""
    ids = {token: number for number, token in enumerate(vocabulary)}
    rust = tokenizers.Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    rust.normalizer = normalizers.BertNormalizer(
        clean_text=options.get("clean_text", True),
        handle_chinese_chars=options.get("split_on_cjk", True),
        strip_accents=options.get("strip_accents"),
        lowercase=options["lowercase"],
    )
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ours = WordPieceTokenizer(vocabulary, **{"max_characters_per_word": 100, "strip_accents": None, **options})
    return ours, _encode(rust)


def byte_pairs(folder: Path) -> dict[str, tuple]:
    """GPT-2's vocabulary, and RoBERTa's order of it with and without a space before the text."""
    ids = json.loads((folder / "encoder.json").read_text("utf-8"))
    merges = [tuple(line.split(" ")) for line in (folder / "vocab.bpe").read_text("utf-8").split("\n")[1:-1]]
    published = sorted(ids, key=ids.get)
    roberta = ["<s>", "<pad>", "</s>", "<unk>", *(token for token in published if token != END), "<mask>"]
    found = {}
    for name, vocabulary, special, prefix in (
        ("GPT-2", published, {"pad": END, "cls": END, "sep": END}, False),
        ("RoBERTa", roberta, ROBERTA, False),
        ("RoBERTa, prefix space", roberta, ROBERTA, True),
    ):
        rust = tokenizers.Tokenizer(models.BPE({token: place for place, token in enumerate(vocabulary)}, merges))
        rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        found[name] = ByteBpeTokenizer(vocabulary, merges, special, add_prefix_space=prefix), _encode(rust)
    return found


def sentence_pieces(content: bytes, options: tuple[str, ...]) -> tuple:
    """A model with its pieces in the order of XLM-RoBERTa's ids, normalized first as ALBERT does if asked."""
    model = parse_model(content, "the model")
    listed = [(piece.piece, piece.score, piece.type) for piece in model.pieces]
    set_pieces(model, [*FIRST, *listed[3:], ("<mask>", 0.0, CONTROL)])
    ours = SentencePieceTokenizer(model.SerializeToString(), ROBERTA, 2, **dict.fromkeys(options, True))
    parts = [normalizers.Replace(two, '"') for two in ("``", "''")]
    parts += [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    first = normalizers.Sequence(parts if options else [])
    processor = sentencepiece.SentencePieceProcessor(model_proto=content)
    published = {3: 0, 0: 1, 2: 2}
    return (
        ours,
        lambda texts: processor.encode([first.normalize_str(text) for text in texts]),
        lambda number: published.get(number, number - 1),
        lambda ids: sum(processor.get_score(number) for number in ids),
    )


def _encode(rust: tokenizers.Tokenizer) -> Callable[[list[str]], list[list[int]]]:
    return lambda texts: [encoding.ids for encoding in rust.encode_batch(texts, add_special_tokens=False)]


if __name__ == "__main__":
    typer.run(main)
