"""Checkpoints that `transformers` wrote: the same numbers, whatever the architecture and the head."""

import numpy as np

from tfllm.models.pretrained.files import open_folder
from tfllm.models.pretrained.load import load_checkpoint


def asked(torch, model, batch):
    """The outputs of a model of `transformers` for a batch of ours."""
    ids = np.where(batch["padding_mask"], batch["token_ids"], model.config.pad_token_id)
    inputs = {"input_ids": ids, "attention_mask": batch["padding_mask"]}
    if getattr(model.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = batch["segment_ids"]
    with torch.no_grad():
        return model(**{name: torch.tensor(value, dtype=torch.long) for name, value in inputs.items()})


def test_outputs_are_those_of_transformers(torch, make_theirs, batch, tmp_path, name, head):
    theirs = make_theirs(name, head)
    theirs.save_pretrained(tmp_path)
    expected = asked(torch, theirs, batch)
    checkpoint = load_checkpoint(open_folder(tmp_path))
    real = batch["padding_mask"] == 1
    if head == "Model":
        found = checkpoint.model.predict(batch, verbose=0)
        np.testing.assert_allclose(found["sequence_output"][real], expected.last_hidden_state[real], atol=1e-4)
        if expected.get("pooler_output") is not None:
            np.testing.assert_allclose(found["pooled_output"], expected.pooler_output, atol=1e-4)
    elif head == "ForMaskedLM":
        positions = np.tile(np.arange(10, dtype="int32"), (3, 1))
        found = checkpoint.model.predict({**batch, "mask_positions": positions}, verbose=0)
        np.testing.assert_allclose(found[real], expected.logits[real], atol=1e-4)
    elif head == "ForSequenceClassification":
        np.testing.assert_allclose(checkpoint.model.predict(batch, verbose=0), expected.logits, atol=1e-4)
    elif head == "ForQuestionAnswering":
        found = checkpoint.model.predict(batch, verbose=0)
        context = found > -1e8
        ends = np.stack([expected.start_logits, expected.end_logits], axis=1)
        np.testing.assert_allclose(found[context], ends[context], atol=1e-4)
    else:
        np.testing.assert_allclose(checkpoint.model.predict(batch, verbose=0)[real], expected.logits[real], atol=1e-4)
