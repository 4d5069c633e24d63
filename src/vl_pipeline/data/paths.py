"""Parameters that name a folder of input data."""

from typing import Annotated


class WatchedByDvc:
    """Marks a parameter whose folder is an input of each stage that takes the parameter."""


InputFolder = Annotated[str, WatchedByDvc()]
"""A folder, relative to the project's root or absolute; its content is hashed by DVC."""
