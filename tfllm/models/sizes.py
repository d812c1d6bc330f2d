"""Named sizes, as BERT's papers give them for encoders.

Source: Devlin et al. 2019, arXiv:1810.04805 (base); Turc et al. 2019, arXiv:1908.08962, table 1 (tiny to medium).
"""


def _size(num_layers: int, hidden_dim: int) -> dict[str, int]:
    # Both papers use heads of width 64 and an intermediate layer four times as wide.
    return {
        "num_layers": num_layers,
        "num_heads": hidden_dim // 64,
        "hidden_dim": hidden_dim,
        "intermediate_dim": 4 * hidden_dim,
    }


SIZES = {
    "tiny": _size(2, 128),
    "mini": _size(4, 256),
    "small": _size(4, 512),
    "medium": _size(8, 512),
    "base": _size(12, 768),
}

# A gated feed-forward part has three matrices instead of two: two thirds of the width, in steps of 32, make the same
# number of weights. Source: Shazeer 2020, arXiv:2002.05202, section 3.
DECODER_SIZES = {
    name: {**size, "intermediate_dim": -(-size["intermediate_dim"] * 2 // 96) * 32} for name, size in SIZES.items()
}
