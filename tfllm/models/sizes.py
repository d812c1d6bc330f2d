"""Named sizes, as BERT's papers give them for encoders.

Source: Devlin et al. 2019, arXiv:1810.04805 (base); Turc et al. 2019, arXiv:1908.08962, table 1 (tiny to medium); for
translation Wu et al. 2021, arXiv:2105.14462 (tiny, what 29,000 pairs teach best); Vaswani et al. 2017,
arXiv:1706.03762, table 3 (medium); Raffel et al. 2020, arXiv:1910.10683, section 3.1.2 (base).
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


def _gated(size: dict[str, int]) -> dict[str, int]:
    # A gated feed-forward part has three matrices instead of two: two thirds of the width, in steps of 32, make the
    # same number of weights. Source: Shazeer 2020, arXiv:2002.05202, section 3.
    return {**size, "intermediate_dim": -(-size["intermediate_dim"] * 2 // 96) * 32}


DECODER_SIZES = {name: _gated(size) for name, size in SIZES.items()}

# Layers of the encoder, and as many of the decoder.
SEQ2SEQ_SIZES = {
    "tiny": _gated({"num_layers": 4, "num_heads": 4, "hidden_dim": 128, "intermediate_dim": 256}),
    "mini": _gated({"num_layers": 3, "num_heads": 4, "hidden_dim": 256, "intermediate_dim": 1024}),
    "small": _gated({"num_layers": 4, "num_heads": 8, "hidden_dim": 512, "intermediate_dim": 1024}),
    "medium": _gated({"num_layers": 6, "num_heads": 8, "hidden_dim": 512, "intermediate_dim": 2048}),
    "base": _gated({"num_layers": 12, "num_heads": 12, "hidden_dim": 768, "intermediate_dim": 3072}),
}
