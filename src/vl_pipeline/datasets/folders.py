"""Datasets that are folders, which a node fills and others read by path."""

from collections.abc import Callable
from pathlib import Path

from vl_pipeline.data.atomic import atomic_folder
from vl_pipeline.datasets.files import PathDataset

Writer = Callable[[Path], None]
"""Fills an empty folder."""


class FolderDataset(PathDataset[Writer, Path]):
    """A folder. Saving calls a writer with an empty folder to fill; loading gives the path.

    The writer's folder takes this dataset's place when the writer returns, so a reader finds
    what a writer finished, or nothing.
    """

    def load(self) -> Path:
        return self.path

    def save(self, data: Writer) -> None:
        with atomic_folder(self.path) as temporary:
            data(temporary)


class ScratchDataset(PathDataset[None, Path]):
    """A folder in which a node keeps what lets it go on after an interruption.

    It is an input that is always there, because loading makes it; DVC does not track it.
    """

    def load(self) -> Path:
        self.path.mkdir(parents=True, exist_ok=True)
        return self.path.resolve()

    def save(self, data: None) -> None:
        """Nothing is saved as a whole; the node writes into the folder as it goes."""

    def _exists(self) -> bool:
        return True
