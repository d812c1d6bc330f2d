"""The merges a trainer found, from a list of every pair of tokens that is a token.

tiktoken keeps tokens by rank, and merges the two neighbours whose result has the lowest. Files made of it (Llama 3's
have 280,147 merges for 128,000 tokens) list every pair under the rank of what it makes. So a merge may use what only a
later one makes, and merges cannot be done many at a time (see `byte_bpe_merges`).

But of the pairs that make a token only one ever meets. What lies between two ends of tokens was put together as if it
stood alone; so the pair is what the token's own bytes become by the merges of lower rank. Those pairs, one for each
token, are in a trainer's order, and give the same tokens as the whole list.

Source: the same idea recovers GPT-4's merges in Karpathy's minbpe, `gpt4.py`.
"""

from itertools import pairwise

_NEVER = float("inf")

Pair = tuple[str, str]


def recover_merges(merges: list[Pair], vocabulary: list[str]) -> list[Pair]:
    """The merges that matter of a list of all pairs, in the same order; the list itself where it is of another kind.

    Args:
        merges: pairs of tokens, each with one character for each byte; those that make one token stand together.
        vocabulary: all tokens.

    Example: a b, b c, a bc, ab c -> a b, b c, ab c: "abc" becomes "ab" and "c" first.
    """
    pairs: dict[str, list[Pair]] = {}
    for first, second in merges:
        pairs.setdefault(first + second, []).append((first, second))
    results, known = ["".join(pair) for pair in merges], set(vocabulary)
    together = sum(one != other for one, other in pairwise(["", *results])) == len(pairs)
    if not together or not known.issuperset({*results, *(token for pair in merges for token in pair)}):
        return merges
    ranks: dict[Pair, int] = {}
    never = []  # tokens that only whole words become
    for token, choices in pairs.items():
        parts = _merged(token, ranks)
        if tuple(parts) in choices:
            ranks[tuple(parts)] = len(ranks)
        else:
            never.append(token)
    return merges if any(tuple(_merged(token, ranks)) in pairs[token] for token in never) else list(ranks)


def _merged(token: str, ranks: dict[Pair, int]) -> list[str]:
    """What the characters of a token become: the pair of lowest rank is merged, the leftmost first, until none is."""
    parts = list(token)
    costs = [ranks.get(pair, _NEVER) for pair in pairwise(parts)]
    while costs and (lowest := min(costs)) != _NEVER:
        place = costs.index(lowest)
        parts[place : place + 2] = ["".join(parts[place : place + 2])]
        del costs[place]
        for beside in range(max(place - 1, 0), min(place + 1, len(costs))):
            costs[beside] = ranks.get((parts[beside], parts[beside + 1]), _NEVER)
    return parts
