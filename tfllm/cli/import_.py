"""`tfllm import`: a published checkpoint becomes a model directory."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfllm import manifest
from tfllm.checks import InputError, check_exists
from tfllm.cli import options
from tfllm.cli.startup import load_tensorflow, log

if TYPE_CHECKING:
    from tfllm.models.pretrained import Checkpoint, Folder
    from tfllm.tokenizers import Tokenizer

_LONGEST_WRITTEN = 1_024  # tokens of prompt and text together: memory grows with the square
_HUB, _KERAS_HUB = "hf:", "keras-hub:"
_ROBERTA_SPECIAL_TOKENS = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}


def import_checkpoint(
    source: Annotated[
        str,
        typer.Argument(
            help="A directory of transformers, of sentence-transformers or of TensorFlow's BERT; a .gguf file; a .bin "
            "file of llama2.c; hf:ORG/NAME; or keras-hub:PRESET.",
            show_default=False,
        ),
    ],
    out: options.Out,
    trust: Annotated[
        bool, typer.Option("--trust", help="Read tf_model.h5, of TFBertFor... and its kin: I know where it comes from.")
    ] = False,
    tokenizer_file: Annotated[
        Path | None,
        typer.Option("--tokenizer", help="For a .bin file: the tokenizer of llama2.c.", show_default=False),
    ] = None,
    sequence_length: Annotated[
        int | None,
        typer.Option(
            help="Where texts are cut, in tokens. Default: as the checkpoint says; of a model that writes, at most "
            f"{_LONGEST_WRITTEN:,}, whatever it has positions for.",
            show_default=False,
        ),
    ] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="The labels or the score are of two texts: does the one follow, say.")
    ] = False,
) -> dict:
    """Take over a published model: its weights, its head and its tokenizer."""
    source, out = str(source), Path(out)
    manifest.check_free(out)
    if tokenizer_file is not None and Path(source).suffix != ".bin":
        raise InputError(f"--tokenizer is that of a .bin file of llama2.c: leave it out. Received: {source}.")
    if trust and Path(source).is_file():
        raise InputError(f"--trust is for a directory with tf_model.h5: leave it out. Received: {source}.")
    load_tensorflow()
    from tfllm.evaluation import model_card
    from tfllm.models import check_length, save_model, set_pairs

    if source.startswith(_KERAS_HUB):
        checkpoint, tokenizer, length = _read_preset(source)
    elif Path(source).is_file():
        checkpoint, tokenizer, length = _read_file(Path(source), tokenizer_file)
    else:
        checkpoint, tokenizer, length = _read_folder(source, trust)
    if sequence_length is not None:
        check_length(checkpoint.model, sequence_length)
        length = sequence_length
    elif checkpoint.writes and length > _LONGEST_WRITTEN:
        log.info("texts are cut at %d of %d tokens; --sequence-length changes it", _LONGEST_WRITTEN, length)
        length = _LONGEST_WRITTEN
    _check_vocabulary(checkpoint, tokenizer)
    _check_beginning(checkpoint, tokenizer)
    if pairs:
        set_pairs(checkpoint.model)
    run = {
        "command": "import",
        "source": source,
        "class_name": checkpoint.class_name,
        "sequence_length": length,
        "left_out": checkpoint.left_out,
    }
    card = model_card(out.name, checkpoint.model, run)
    save_model(checkpoint.model, out, tokenizer, run=run, card=card)
    log.info("wrote %s: %s, %s parameters", out, checkpoint.class_name, f"{checkpoint.model.count_params():,}")
    for name, reason in checkpoint.left_out.items():
        log.info("left out %s: %s", name, reason)
    return run


def _read_folder(source: str, trust: bool) -> tuple["Checkpoint", "Tokenizer", int]:
    """The model and tokenizer of a directory, and the length at which its texts are cut."""
    from tfllm.models import longest_text, pretrained
    from tfllm.tokenizers.huggingface import load_huggingface_tokenizer

    name = source.removeprefix(_HUB)
    folder = pretrained.open_folder(source) if name == source else pretrained.fetch(name)
    if pretrained.is_tensorflow_bert(folder):
        checkpoint, tokenizer = pretrained.load_tensorflow_bert(folder), _read_word_pieces(folder)
    else:
        checkpoint = pretrained.load_checkpoint(folder, trust=trust)
        folder = pretrained.encoder_folder(folder)
        tokenizer = load_huggingface_tokenizer(folder.path, folder.root)
    return checkpoint, tokenizer, pretrained.read_length(folder, longest_text(checkpoint.model))


def _read_file(file: Path, tokenizer_file: Path | None) -> tuple["Checkpoint", "Tokenizer", int]:
    """The model and tokenizer of a GGUF file, or of two files of llama2.c; and how many tokens it has positions for."""
    from tfllm.models import longest_text, pretrained
    from tfllm.tokenizers.gguf import load_gguf_tokenizer
    from tfllm.tokenizers.llama2c import load_llama2c_tokenizer

    if file.suffix == ".gguf":
        gguf = pretrained.open_gguf(file)
        checkpoint, tokenizer = pretrained.load_gguf(gguf), load_gguf_tokenizer(gguf.values, str(file))
    elif file.suffix == ".bin":
        if tokenizer_file is None:
            raise InputError("A .bin file of llama2.c holds no tokenizer: give its file by --tokenizer.")
        check_exists(tokenizer_file)
        checkpoint, tokenizer = pretrained.load_llama2c(file), load_llama2c_tokenizer(tokenizer_file)
    else:
        raise InputError(f"tfllm imports .gguf and .bin files, and directories. Received: {file}.")
    return checkpoint, tokenizer, longest_text(checkpoint.model)


def _read_word_pieces(folder: "Folder") -> "Tokenizer":
    """The tokenizer of an original BERT checkpoint; its vocabulary tells whether it knows capitals."""
    from tfllm.tokenizers import WordPieceTokenizer
    from tfllm.tokenizers.wordpiece import VOCABULARY_FILE, read_vocabulary

    vocabulary = read_vocabulary(folder.need(VOCABULARY_FILE))
    return WordPieceTokenizer(vocabulary, lowercase="A" not in vocabulary)


def _read_preset(source: str) -> tuple["Checkpoint", "Tokenizer", int]:
    """The model and tokenizer of a KerasHub preset, and the length at which its texts are cut."""
    from tfllm.models import longest_text, pretrained

    preset = source.removeprefix(_KERAS_HUB)
    checkpoint = pretrained.load_keras_hub(preset)
    return checkpoint, _preset_tokenizer(preset), longest_text(checkpoint.model)


def _preset_tokenizer(preset: str) -> "Tokenizer":
    import keras_hub

    from tfllm.tokenizers import WordPieceTokenizer
    from tfllm.tokenizers.byte_bpe import ByteBpeTokenizer

    try:
        theirs = keras_hub.models.Tokenizer.from_preset(preset)
    except Exception as error:  # its own, those of three download libraries, and of Keras
        raise InputError(f"KerasHub cannot load the tokenizer of {preset!r}: {error}") from None
    if isinstance(theirs, keras_hub.tokenizers.WordPieceTokenizer):
        return WordPieceTokenizer(theirs.get_vocabulary(), lowercase=theirs.lowercase)
    if isinstance(theirs, keras_hub.models.RobertaTokenizer):
        merges = [tuple(merge.split(" ")) for merge in theirs.merges]
        return ByteBpeTokenizer(theirs.get_vocabulary(), merges, _ROBERTA_SPECIAL_TOKENS, pair_separators=2)
    raise InputError(
        f"tfllm takes over WordPiece and byte-level BPE tokenizers from KerasHub. Received: {type(theirs).__name__}. "
        "The same model stands on the Hugging Face Hub: import that (hf:ORG/NAME)."
    )


def _check_vocabulary(checkpoint: "Checkpoint", tokenizer: "Tokenizer") -> None:
    from tfllm.models import read_encoder

    tokens = read_encoder(checkpoint.model).get_layer("token_embedding").input_dim
    if tokenizer.vocabulary_size > tokens:
        raise InputError(
            f"The tokenizer has {tokenizer.vocabulary_size:,} tokens, and the model has embeddings for {tokens:,}: "
            "they do not belong together."
        )


def _check_beginning(checkpoint: "Checkpoint", tokenizer: "Tokenizer") -> None:
    """Raise InputError for a decoder whose texts have no token to begin with."""
    from tfllm.models import read_recipe

    if read_recipe(checkpoint.model)["builder"] == "add_causal_lm_head" and "cls" not in tokenizer.special_tokens:
        raise InputError(
            "A model that writes needs a token to begin with: a decoder is read with a tokenizer that puts one before "
            "a text, or has one and puts nothing around it. (One that only ends texts belongs to a model of "
            "vectors; of those tfllm reads encoders.) Received: one that puts nothing before a text, with "
            f"{tokenizer.special_tokens}."
        )
