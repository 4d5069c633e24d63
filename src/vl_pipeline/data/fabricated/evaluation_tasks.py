"""Tasks to evaluate on, in the webdataset layout of CLIP_benchmark."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vl_pipeline.data.archives import open_archive
from vl_pipeline.data.fabricated.drawings import OTHER_TASK_CLASSES, TARGET_CLASSES
from vl_pipeline.data.fabricated.parameters import FabricatedPool
from vl_pipeline.data.fabricated.pictures import Picture, descriptions, jpeg_bytes, render
from vl_pipeline.data.fabricated.randomness import generator

Split = Literal["test", "val"]

_TEMPLATES = ("a photo of a {c}", "{c}", "a picture of a {c}", "a drawing of a {c}")
_NUM_RETRIEVAL_IMAGES = 100
_CAPTIONS_PER_IMAGE = 5


@dataclass(frozen=True, kw_only=True)
class ClassificationTask:
    """Images to be told apart by the names of their classes; class i is the i-th name."""

    name: str
    class_names: tuple[str, ...]


SCENES = ClassificationTask(name="scenes", class_names=TARGET_CLASSES)
# The second task's texts are nobody's target texts: what curation for the first one costs it.
OTHER_SCENES = ClassificationTask(name="other_scenes", class_names=OTHER_TASK_CLASSES)


def evaluation_pictures(
    task: ClassificationTask, split: Split, parameters: FabricatedPool
) -> list[Picture]:
    """The pictures of a split in their order, equally many of each class."""
    num_per_class = parameters.num_evaluation_images_per_class // (1 if split == "test" else 2)
    purpose = f"{task.name}/{split}"
    names = [name for name in task.class_names for _ in range(num_per_class)]
    order = generator(parameters.seed, f"{purpose}/order", 0).permutation(len(names))
    return [
        Picture(purpose=purpose, index=index, class_name=names[place], seed=parameters.seed)
        for index, place in enumerate(order.tolist())
    ]


def evaluation_key(picture: Picture) -> str:
    """The key of an evaluation picture within its archive."""
    return f"s{picture.index:07d}"


def write_classification_task(
    folder: Path, task: ClassificationTask, parameters: FabricatedPool
) -> None:
    """Write `test` and `val` of a task into a new folder, with its class names and templates."""
    folder.mkdir(parents=True)
    _write_lines(folder / "classnames.txt", task.class_names)
    _write_lines(folder / "zeroshot_classification_templates.txt", _TEMPLATES)
    (folder / "dataset_type.txt").write_text("classification")
    splits: tuple[Split, ...] = ("test", "val")
    for split in splits:
        pictures = evaluation_pictures(task, split, parameters)
        labels = [str(task.class_names.index(str(picture.class_name))) for picture in pictures]
        _write_split(folder / split, pictures, "cls", labels, parameters)


def write_retrieval_task(folder: Path, parameters: FabricatedPool) -> None:
    """Write 100 test images of target classes, each with the sentences of five people."""
    folder.mkdir(parents=True)
    (folder / "dataset_type.txt").write_text("retrieval")
    pictures = [
        Picture(
            purpose="scenes_retrieval/test",
            index=index,
            class_name=TARGET_CLASSES[index % len(TARGET_CLASSES)],
            seed=parameters.seed,
        )
        for index in range(_NUM_RETRIEVAL_IMAGES)
    ]
    texts = ["\n".join(descriptions(p, number=_CAPTIONS_PER_IMAGE)) for p in pictures]
    _write_split(folder / "test", pictures, "txt", texts, parameters)


def _write_split(
    folder: Path,
    pictures: list[Picture],
    suffix: str,
    texts: list[str],
    parameters: FabricatedPool,
) -> None:
    folder.mkdir()
    with open_archive(folder / "0.tar") as archive:
        for picture, text in zip(pictures, texts, strict=True):
            image = jpeg_bytes(render(picture, image_size_px=parameters.image_size_px))
            archive.write({"__key__": evaluation_key(picture), "jpg": image, suffix: text.encode()})
    (folder / "nshards.txt").write_text("1")


def _write_lines(path: Path, lines: tuple[str, ...]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))
