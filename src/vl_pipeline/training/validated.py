"""What a training is validated on, told apart by content."""

from pathlib import Path

from vl_pipeline.data.digest import digest_of_files
from vl_pipeline.data.tasks import Tasks, has_split
from vl_pipeline.evaluation.validation import SPLIT


def digests_of_validated(tasks: Tasks) -> dict[str, str]:
    """Digest of the validation split and the texts of each task of `evaluate_on` that has one."""
    folders = [Path(tasks.folder) / name for name in tasks.evaluate_on]
    return {
        folder.name: digest_of_files(
            folder, sorted([*folder.glob("*.txt"), *(folder / SPLIT).glob("*.tar")])
        )
        for folder in folders
        if has_split(folder, SPLIT)
    }
