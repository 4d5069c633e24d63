"""Parameters that name input data."""

from typing import Annotated


class WatchedByDvc:
    """Marks a parameter whose folder or file is an input of each stage that takes the parameter."""


InputFolder = Annotated[str, WatchedByDvc()]
"""A folder, relative to the project's root or absolute; its content is hashed by DVC."""

OptionalInput = Annotated[str | None, WatchedByDvc()]
"""A file or folder, named as above, or None; `make dvc` anew when one takes the other's place."""
