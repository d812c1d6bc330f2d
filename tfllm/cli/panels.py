"""The options of the long commands in groups, by what a user looks for: what `--help` shows under which heading."""

from typer.core import TyperCommand

PANELS = {  # heading -> options by name, in their order
    "Data": (
        *("data", "validation", "validation_share", "held_out", "text", "text_pair", "label", "choices", "source"),
        *("target", "labels", "label_separator", "score_range", "document", "encoding", "on_bad_rows"),
    ),
    "Model": (
        *("task", "objective", "init", "tokenizer", "size", "pre_norm", "bigram_buckets", "sequence_length"),
        *("target_length", "pooling", "stride", "max_answer_tokens"),
    ),
    "Training": (
        *("steps", "epochs", "batch_size", "learning_rate", "warmup_share", "decay", "layer_decay", "mask_rate"),
        *("span_length", "whole_word", "fill_in_middle", "class_weights", "similarity_loss", "temperature"),
        *("on_divergence", "seed"),
    ),
    "Against overfitting": (
        *("dropout", "weight_decay", "label_smoothing", "augment_case", "augment_typos", "augment_word_dropout"),
        *("frozen_layers", "unfreeze_gradually"),
    ),
    "Which weights are kept": ("monitor", "patience", "folds", "seeds", "ensemble"),
    "Memory and speed": ("lora_rank", "micro_batches", "remat", "precision", "strategy"),
    "Output": ("out", "save_minutes", "tensorboard", "dry_run", "config", "help"),
}
_PLACES = {name: (panel, place) for panel, names in PANELS.items() for place, name in enumerate(names)}
_ORDER = list(PANELS)


class PanelCommand(TyperCommand):
    """A command whose options `--help` shows in panels."""

    def get_params(self, ctx):
        params = super().get_params(ctx)
        for param in params:
            param.rich_help_panel = _PLACES[param.name][0]
        return sorted(params, key=lambda param: (_ORDER.index(param.rich_help_panel), _PLACES[param.name][1]))
