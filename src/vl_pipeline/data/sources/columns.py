"""Which columns of a table name the picture, its caption and its address."""

from collections.abc import Iterable
from dataclasses import dataclass

from vl_pipeline.errors import ShardError

IMAGE_NAMES = (
    "image", "images", "file_name", "filename", "filepath", "file_path", "image_path",
    "image_name", "image_file", "image_bytes", "img", "img_path", "jpg", "jpeg", "png", "webp",
    "picture", "path", "file",
)  # fmt: skip
CAPTION_NAMES = (
    "caption", "captions", "text", "alt_text", "alt", "title", "description", "comment",
    "sentence", "sentences", "txt",
)  # fmt: skip
URL_NAMES = (
    "url", "urls", "image_url", "imageurl", "img_url", "image_link", "link", "originalurl",
    "original_url", "thumbnail_url",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a table that a pair is read from; `url` may be missing."""

    image: str
    caption: str
    url: str | None


@dataclass(frozen=True, kw_only=True)
class NamedColumns:
    """Columns the user named; None is looked for among the usual names."""

    image: str | None
    caption: str | None


def choose_columns(
    present: Iterable[str], images: Iterable[str], named: NamedColumns, *, place: str
) -> Columns:
    """Choose the columns of a table.

    Args:
        present: All columns.
        images: Those of them that can hold pictures, or the names of pictures.
        named: Columns the user named.
        place: The table, for messages.

    Raises:
        ShardError: If there is no such column, or no column of a usual name. A table with
            addresses and no pictures is sent to the download.
    """
    present, images = list(present), list(images)
    url = _usual(present, URL_NAMES)
    image = _named(named.image, images, "pool.image_column", place) or _usual(images, IMAGE_NAMES)
    if image is None and (url or any(is_address(name) for name in present)):
        raise ShardError(list_of_addresses(place, url))
    caption = _named(named.caption, present, "pool.caption_column", place)
    caption = caption or _usual([name for name in present if name != image], CAPTION_NAMES)
    for column, kind, usual in ((image, "image", IMAGE_NAMES), (caption, "caption", CAPTION_NAMES)):
        if column is None:
            raise ShardError(
                f"{place}: no column for the {kind} among {', '.join(present) or 'none at all'}; "
                f"name it in pool.{kind}_column (conf/base/parameters_pool.yml), or call it "
                f"{', '.join(usual[:4])}, ..."
            )
    assert image is not None and caption is not None
    return Columns(image=image, caption=caption, url=url)


def is_address(value: object) -> bool:
    """Say whether a cell, or a column's name, is an address."""
    return isinstance(value, str) and value.startswith(("http://", "https://"))


def list_of_addresses(place: str, column: str | None) -> str:
    """Say that a table holds addresses, and what to do with it."""
    where = f" in column '{column}'" if column else ""
    return (
        f"{place}: holds addresses of pictures{where} and no pictures; ingest reads what is on "
        f"disk, so fetch them first with `kedro run --pipelines download`, and set pool.folder to "
        f"what it wrote"
    )


def _named(name: str | None, present: list[str], parameter: str, place: str) -> str | None:
    if name is not None and name not in present:
        raise ShardError(
            f"{place}: {parameter} is '{name}', which is none of {', '.join(present) or 'no'} "
            f"columns that can be it; correct it in conf/base/parameters_pool.yml"
        )
    return name


def _usual(present: list[str], usual: tuple[str, ...]) -> str | None:
    """The first usual name that is present, whatever its case."""
    by_name = {name.strip().lower(): name for name in reversed(present)}
    return next((by_name[name] for name in usual if name in by_name), None)
