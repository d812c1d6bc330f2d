"""Checkpoints of `transformers` and ours: the same numbers in both directions, whatever the architecture and head."""

from tfllm.models.pretrained import describe, load_checkpoint, open_folder


def test_a_checkpoint_comes_in_and_goes_out(
    make_theirs, load_theirs, ask_theirs, ask_ours, assert_equal, tmp_path, name, head
):
    theirs = make_theirs(name, head)
    theirs.save_pretrained(tmp_path / "in")
    checkpoint = load_checkpoint(open_folder(tmp_path / "in"))
    assert checkpoint.class_name == type(theirs).__name__
    assert checkpoint.left_out == {}
    ours, expected = ask_ours(checkpoint.model), ask_theirs(theirs)
    assert_equal(ours, expected)
    description = describe(checkpoint.model, theirs.config.pad_token_id, sentencepiece=name == "xlm_roberta")
    assert description.left_out == {}
    again = load_theirs(description)
    assert_equal(ask_theirs(again), expected)
    is_bert = (
        name == "electra_base" and head != "ForSequenceClassification"
    )  # where it has neither pooler nor projection
    assert type(again).__name__ == ("Bert" + head if is_bert else type(theirs).__name__)
