"""Nested values as flat names."""

from typing import Any


def flatten(value: Any, *, separator: str = ".", name: str = "") -> dict[str, Any]:
    """Flatten nested dictionaries; every other value, lists included, is a leaf.

    An empty dictionary is a leaf too, so that it is not lost.
    """
    if not isinstance(value, dict) or not value:
        return {name: value}
    return {
        key: leaf
        for part, inner in value.items()
        for key, leaf in flatten(
            inner, separator=separator, name=f"{name}{separator}{part}" if name else str(part)
        ).items()
    }
