"""What only a model that writes needs of a tokenizer: the tokens that end its texts, and its chat template.

In: `generation_config.json`, `tokenizer_config.json`, `chat_template.jinja`. Out: a `Tokenizer` that knows them.
"""

import logging

from tfllm.checks import InputError
from tfllm.tokenizers.base import Tokenizer
from tfllm.tokenizers.chat import from_jinja
from tfllm.tokenizers.huggingface.files import Checkpoint

_TEMPLATE = "chat_template.jinja"
_GENERATION = "generation_config.json"
_MOST_ENDS = 100
LOG = logging.getLogger(__name__)


def add_prompts(tokenizer: Tokenizer, checkpoint: Checkpoint) -> None:
    """Give a tokenizer what the files of its directory say.

    A chat template that cannot be expressed here is left out, with a warning that says why.
    """
    ends = [tokenizer.vocabulary[number] for number in _end_ids(checkpoint, tokenizer.vocabulary_size)]
    tokenizer.set_prompts(begin=tokenizer.begins_prompts, ends=ends)
    template = checkpoint.files.read_text(_TEMPLATE) or checkpoint.settings.get("chat_template")
    names = {**checkpoint.settings, **checkpoint.named[1]}
    add_chat_template(tokenizer, template, {name: token for name, token in names.items() if name.endswith("_token")})


def add_chat_template(tokenizer: Tokenizer, template: object, special: dict[str, object]) -> None:
    """Give a tokenizer the chat template that a checkpoint has in Jinja, if it has one and it can be expressed.

    Args:
        tokenizer: what gets it.
        template: the source; several by name, of which "default" counts; None: there is none.
        special: `bos_token`, `eos_token` and so on -> the token, as a string or an object with its `content`.
    """
    if isinstance(template, list):
        named = {one.get("name"): one.get("template") for one in template if isinstance(one, dict)}
        template = named.get("default")
    if template is None:
        return
    special = {name: one.get("content") if isinstance(one, dict) else one for name, one in special.items()}
    try:
        tokenizer.chat_template = from_jinja(template, special)
    except InputError as error:
        LOG.warning("The chat template is left out. %s", error)


def _end_ids(checkpoint: Checkpoint, size: int) -> list[int]:
    """The ids that end a text, as the file says; none if there is no file."""
    found = (checkpoint.files.read_json(_GENERATION) or {}).get("eos_token_id")
    if found is None:
        return []
    ids = found if isinstance(found, list) else [found]
    if len(ids) > _MOST_ENDS or not all(type(one) is int and 0 <= one < size for one in ids):
        raise InputError(
            f"{checkpoint.files.path / _GENERATION}: `eos_token_id` must be ids of tokens. Received: {found!r:.100}."
        )
    return ids
