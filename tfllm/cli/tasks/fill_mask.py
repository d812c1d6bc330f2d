"""Words for the gaps of a text. Nothing is fine-tuned for it: a masked language model does it as it is."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def show(results: list[dict], console: "Console") -> None:
    """Each text with its gaps filled, and under it the words for each gap."""
    from rich.text import Text

    for result in results:
        console.print(Text(result["filled"], "bold"))
        for number, gap in enumerate(result["gaps"], start=1):
            words = ", ".join(f"{entry['word']} {entry['score']:.3f}" for entry in gap)
            console.print(Text(f"  {number}: {words}"))
        if not result["gaps"]:
            console.print(Text("  no [MASK] in it", "dim"))
