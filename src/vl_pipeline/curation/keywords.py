"""Which target texts a caption names, as words.

Letters' case does not matter, nor what stands between words, and a simple English plural counts as
its singular: "Two Red-Apples!" names "red apple", "pineapple" does not name "apple". All texts are
looked for in one pass over a caption, however many there are (Aho and Corasick, 1975).
"""

import re
from collections.abc import Sequence
from functools import lru_cache

import ahocorasick

from vl_pipeline.errors import CurationError

_WORD = re.compile(r"[^\W_]+")


class Keywords:
    """Texts to look for in captions."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Take the texts; those that fold to the same words are found together.

        Raises:
            CurationError: If no text has a word in it.
        """
        numbers: dict[str, list[int]] = {}
        for number, text in enumerate(texts):
            numbers.setdefault(_folded(text), []).append(number)
        numbers.pop("", None)
        if not numbers:
            raise CurationError(
                f"none of the {len(texts)} target texts has a word in it; see classnames.txt "
                f"of the tasks in tasks.curate_for"
            )
        self._automaton = ahocorasick.Automaton()
        for words, which in numbers.items():
            self._automaton.add_word(f" {words} ", which)
        self._automaton.make_automaton()

    def named_in(self, caption: str) -> list[int]:
        """Give the numbers of the texts that a caption names, ascending, each once."""
        found = self._automaton.iter(f" {_folded(caption)} ")
        return sorted({number for _, numbers in found for number in numbers})


@lru_cache(maxsize=1)
def keywords_of(texts: tuple[str, ...]) -> Keywords:
    """Give `Keywords` of these texts, the last ones without building them again."""
    return Keywords(texts)


def _folded(text: str) -> str:
    return " ".join(singular(word) for word in _WORD.findall(text.casefold()))


def singular(word: str) -> str:
    """Undo the regular endings of an English plural; other words are left as they are."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes", "zzes", "toes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
