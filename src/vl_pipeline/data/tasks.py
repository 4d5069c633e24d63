"""Tasks in the folder layout of CLIP_benchmark, read from their shards.

<task>/classnames.txt                          one class name a line (classification)
<task>/zeroshot_classification_templates.txt   one template a line, with {c} for the name
<task>/dataset_type.txt                        "retrieval" for a retrieval task
<task>/<split>/<n>.tar                         images with .cls, or with .txt (captions)
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import MinLen
from jaxtyping import Int64
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.data.pairs import IMAGE_SUFFIXES
from vl_pipeline.data.paths import InputFolder
from vl_pipeline.data.tar import Member, index_tar
from vl_pipeline.errors import ParameterError, ShardError

PLACEHOLDER = "{c}"
"""What a template has in place of the class name."""


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Tasks:
    """What the pool is curated for, and what the model is evaluated on.

    Attributes:
        folder: Holds one sub-folder per task; relative to the project's root.
        curate_for: Tasks whose class names are the target texts.
        evaluate_on: Tasks that are evaluated.
        target_templates: What captions are compared with: each target text in each template. The
            features of one text's templates are averaged, so a text stays one target.
    """

    folder: InputFolder
    curate_for: Annotated[tuple[str, ...], MinLen(1)]
    evaluate_on: Annotated[tuple[str, ...], MinLen(1)]
    target_templates: Annotated[tuple[str, ...], MinLen(1)] = (PLACEHOLDER,)

    def __post_init__(self) -> None:
        without = [t for t in self.target_templates if PLACEHOLDER not in t]
        if without:
            raise ParameterError(
                f"tasks.target_templates holds '{without[0]}', which has no place for the class "
                f"name; write it as {PLACEHOLDER}, as in 'a photo of a {PLACEHOLDER}'"
            )


@dataclass(frozen=True, kw_only=True)
class ClassificationTask:
    """Images with one label each; `labels[i]` indexes `class_names`."""

    name: str
    images: list[bytes]
    labels: Int64[np.ndarray, " n"]
    class_names: list[str]
    templates: list[str]


@dataclass(frozen=True, kw_only=True)
class RetrievalTask:
    """Images with one or more captions each."""

    name: str
    images: list[bytes]
    captions: list[list[str]]


def read_target_texts(tasks: Tasks) -> list[str]:
    """Read the class names of every task in `curate_for`: in order, each once.

    Raises:
        ShardError: If a task has no class names.
    """
    names = [
        name for task in tasks.curate_for for name in read_class_names(Path(tasks.folder) / task)
    ]
    return list(dict.fromkeys(names))


def read_class_names(folder: Path) -> list[str]:
    """Read a classification task's class names."""
    return _read_lines(folder / "classnames.txt")


def is_retrieval(folder: Path) -> bool:
    """Say whether a task's images come with captions instead of labels."""
    kind = folder / "dataset_type.txt"
    return kind.exists() and _read_text(kind).strip() == "retrieval"


def has_split(folder: Path, split: str) -> bool:
    """Say whether a task has shards for a split."""
    return any((folder / split).glob("*.tar"))


def read_task(folder: Path, *, split: str) -> ClassificationTask | RetrievalTask:
    """Read one split of a task, images and all.

    Raises:
        ShardError: If the folder does not have the layout, a label is no class, or an image that is
            to be retrieved has no caption.
    """
    samples = _read_samples(folder / split)
    images = [_image_of(sample) for sample in samples]
    if is_retrieval(folder):
        captions = [_captions_of(sample) for sample in samples]
        return RetrievalTask(name=folder.name, images=images, captions=captions)
    class_names = read_class_names(folder)
    labels = np.array([_label_of(sample, len(class_names)) for sample in samples])
    templates = _read_lines(folder / "zeroshot_classification_templates.txt")
    return ClassificationTask(
        name=folder.name, images=images, labels=labels, class_names=class_names, templates=templates
    )


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """Files of one key, by suffix, and where they are."""

    place: str
    files: dict[str, bytes]


def _label_of(sample: _Sample, num_classes: int) -> int:
    text = _text_of(sample, "cls").strip()
    if not text.isdecimal() or int(text) >= num_classes:
        raise ShardError(
            f"{sample.place}: label '{text}' has no name; classnames.txt lists {num_classes}, "
            f"labels count from 0"
        )
    return int(text)


def _captions_of(sample: _Sample) -> list[str]:
    captions = [line for line in _text_of(sample, "txt").splitlines() if line.strip()]
    if not captions:
        raise ShardError(f"{sample.place}: its .txt is empty; it holds one caption a line")
    return captions


def _read_lines(path: Path) -> list[str]:
    if not path.is_file():
        raise ShardError(
            f"{path} does not exist; a task folder has the layout of CLIP_benchmark, set "
            f"tasks.folder, tasks.curate_for and tasks.evaluate_on (conf/base/parameters_tasks.yml)"
        )
    text = _read_text(path).rstrip()
    if not text:
        raise ShardError(f"{path} is empty; it lists one entry a line")
    lines = [line.strip() for line in text.split("\n")]
    if "" in lines:  # labels are numbers of lines
        raise ShardError(f"{path}: line {lines.index('') + 1} is blank; remove it, or fill it in")
    return lines


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ShardError(f"{path} is not UTF-8 ({error}); save it as UTF-8") from error


def _read_samples(folder: Path) -> list[_Sample]:
    shards = sorted(folder.glob("*.tar"), key=lambda path: (len(path.name), path.name))
    if not shards:
        raise ShardError(f"{folder} holds no .tar; a split holds 0.tar, 1.tar, ...")
    samples: list[_Sample] = []
    for shard in shards:
        index = index_tar(shard)
        damage = index.damage or ", ".join(f"'{key}' comes twice" for key in index.repeated_keys)
        if damage:
            raise ShardError(f"{shard}: {damage}; evaluation needs the whole task, restore it")
        data = shard.read_bytes()
        samples += [
            _Sample(place=f"{shard}: '{key}'", files=_files(data, members))
            for key, members in index.samples.items()
        ]
    if not samples:
        raise ShardError(f"{folder} holds no samples; a split has at least one")
    return samples


def _files(data: bytes, members: list[Member]) -> dict[str, bytes]:
    return {m.suffix: data[m.offset : m.offset + m.num_bytes] for m in members if m.kind == "file"}


def _image_of(sample: _Sample) -> bytes:
    for suffix in IMAGE_SUFFIXES:
        if suffix in sample.files:
            return sample.files[suffix]
    raise ShardError(f"{sample.place} has {sorted(sample.files)} but no image")


def _text_of(sample: _Sample, suffix: str) -> str:
    if suffix not in sample.files:
        raise ShardError(f"{sample.place} has {sorted(sample.files)} but no .{suffix}")
    try:
        return sample.files[suffix].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ShardError(f"{sample.place}: its .{suffix} is not UTF-8 ({error})") from error
