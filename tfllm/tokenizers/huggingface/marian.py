"""Marian's tokenizer: two SentencePiece models and one vocabulary.

In: `source.spm`, `target.spm`, `vocab.json`. Out: a `SentencePiecePairTokenizer`; and the way back.
"""

from tfllm.checks import InputError
from tfllm.tokenizers.huggingface.files import Checkpoint, check_tokens, tokens_by_id
from tfllm.tokenizers.huggingface.special import Wrapping, read_special
from tfllm.tokenizers.sentencepiece_model import parse_model
from tfllm.tokenizers.sentencepiece_pair import SOURCE_FILE, TARGET_FILE, VOCABULARY_FILE, SentencePiecePairTokenizer


def read_files(checkpoint: Checkpoint) -> SentencePiecePairTokenizer:
    """The tokenizer of these files."""
    where = str(checkpoint.files.path / VOCABULARY_FILE)
    if checkpoint.option("separate_vocabs", bool, False):
        raise InputError(f"{where}: tfllm reads one vocabulary for both languages, not two (`separate_vocabs`).")
    models = [_read_model(checkpoint, name) for name in (SOURCE_FILE, TARGET_FILE)]
    ids = checkpoint.files.read_json(VOCABULARY_FILE)
    if ids is None:
        raise InputError(f"{checkpoint.files.path} has no {VOCABULARY_FILE}, which says the ids of the pieces.")
    vocabulary = tokens_by_id(ids, where)
    check_tokens(vocabulary, where)
    special = read_special(checkpoint, vocabulary, "<unk>", Wrapping(None, "</s>", 1))
    if not {"pad", "unk", "sep"} <= set(special["special_tokens"]):
        raise InputError(f"{where} must have <pad>, <unk> and </s>.")
    return SentencePiecePairTokenizer(*models, vocabulary, **special)


def _read_model(checkpoint: Checkpoint, name: str) -> bytes:
    where = str(checkpoint.files.path / name)
    content = checkpoint.files.read(name)
    if content is None:
        raise InputError(f"{checkpoint.files.path} has no {name}: Marian's tokenizer has one for each language.")
    model = parse_model(content, where)
    check_tokens([piece.piece for piece in model.pieces], where)
    if model.trainer_spec.byte_fallback:
        raise InputError(f"{where}: tfllm reads Marian's models without byte fallback only.")
    return content
