"""Which characters BERT treats as Chinese."""

# The CJK Unified Ideographs blocks and compatibility ideographs that BERT splits into single characters.
# Kana and Hangul are not among them: those scripts are written in words.
_CJK_BLOCKS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def is_cjk(character: str) -> bool:
    """True for a CJK ideograph. Source: Devlin et al. 2019, the published BERT code's list of blocks."""
    return any(first <= ord(character) <= last for first, last in _CJK_BLOCKS)
