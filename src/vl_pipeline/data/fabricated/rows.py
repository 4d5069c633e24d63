"""Which rows a pool lists: what each shows, whose caption it carries, and what is wrong with it."""

from dataclasses import dataclass, replace
from itertools import cycle
from typing import Literal, get_args

import numpy as np

from vl_pipeline.data.fabricated.drawings import OTHER_CLASSES, TARGET_CLASSES
from vl_pipeline.data.fabricated.evaluation_tasks import SCENES, evaluation_pictures
from vl_pipeline.data.fabricated.parameters import FabricatedPool
from vl_pipeline.data.fabricated.pictures import Picture
from vl_pipeline.data.fabricated.randomness import generator, happens, pick
from vl_pipeline.errors import ParameterError

Fault = Literal[
    "mismatched", "boilerplate", "exact_duplicate", "near_duplicate", "corrupt", "leaked"
]
Corruption = Literal[
    "failed_to_download", "truncated_jpeg", "html_page", "zero_bytes", "empty_caption",
    "failed_to_resize", "null_caption", "missing_caption",
]  # fmt: skip
NEVER_ARRIVED: tuple[Corruption, ...] = ("failed_to_download", "failed_to_resize")
UNREADABLE: tuple[Corruption, ...] = ("truncated_jpeg", "html_page", "zero_bytes")

ROWS_PER_SHARD = 1000
# Of the off-topic pictures; the others are scenes of a class that is not a target.
_OTHER_CONTENT_FRACTION = 0.35


@dataclass(frozen=True, kw_only=True)
class Row:
    """One listed row.

    Attributes:
        index: Its place in the pool.
        picture: What it shows, or would have shown.
        captioned: The picture its caption was written for; another one where it is mismatched.
        fault: What is wrong with the row, or None.
        corruption: How it is corrupt, where that is the fault.
        duplicate_of: Index of the row whose picture and caption it repeats.
    """

    index: int
    picture: Picture
    captioned: Picture
    fault: Fault | None
    corruption: Corruption | None = None
    duplicate_of: int | None = None

    @property
    def on_topic(self) -> bool:
        """Whether the picture is a scene of a target class."""
        return self.picture.class_name in TARGET_CLASSES

    @property
    def shard(self) -> str:
        """The name of its shard: five digits."""
        return f"{self.index // ROWS_PER_SHARD:05d}"

    @property
    def key(self) -> str:
        """Its key: the shard's name and three digits."""
        return key_of(self.index)


def key_of(index: int) -> str:
    """The key of the row at this place of the pool, as img2dataset counts."""
    return f"{index // ROWS_PER_SHARD:05d}{index % ROWS_PER_SHARD:03d}"


def plan_rows(parameters: FabricatedPool) -> list[Row]:
    """Plan every row of the pool; the numbers of faults and of off-topic rows are exact."""
    rng = generator(parameters.seed, "plan", 0)
    faults = _deal_faults(parameters, rng)
    rows: list[Row] = []
    for index, name in enumerate(_deal_classes(faults, parameters, rng)):
        picture = Picture(purpose="pool", index=index, class_name=name, seed=parameters.seed)
        rows.append(Row(index=index, picture=picture, captioned=picture, fault=faults[index]))
    planted: dict[int, Row] = (
        _swap_captions(rows, rng)
        | _repeat_rows(rows, rng)
        | _leak_test_images(rows, parameters, rng)
        | _corrupt(rows)
    )
    return [planted.get(row.index, row) for row in rows]


def _deal_faults(parameters: FabricatedPool, rng: np.random.Generator) -> list[Fault | None]:
    fractions: dict[Fault, float] = {
        "mismatched": parameters.mismatched_fraction,
        "boilerplate": parameters.boilerplate_fraction,
        "exact_duplicate": parameters.duplicate_fraction,
        "near_duplicate": parameters.near_duplicate_fraction,
        "corrupt": parameters.corrupt_fraction,
        "leaked": parameters.leaked_fraction,
    }
    faults: list[Fault | None] = [None] * parameters.num_pairs
    places = iter(rng.permutation(parameters.num_pairs).tolist())
    for fault, fraction in fractions.items():
        for _ in range(round(fraction * parameters.num_pairs)):
            faults[next(places)] = fault
    return faults


def _deal_classes(
    faults: list[Fault | None], parameters: FabricatedPool, rng: np.random.Generator
) -> list[str | None]:
    """A class for each row, None for other content; leaked rows are on topic by their nature."""
    free = [index for index, fault in enumerate(faults) if fault != "leaked"]
    num_off_topic = round(parameters.off_topic_fraction * len(faults))
    off_topic = set(rng.permutation(free)[:num_off_topic].tolist())
    names: list[str | None] = []
    for index in range(len(faults)):
        if index not in off_topic:
            names.append(pick(rng, TARGET_CLASSES))
        else:
            is_scene = not happens(rng, _OTHER_CONTENT_FRACTION)
            names.append(pick(rng, OTHER_CLASSES) if is_scene else None)
    return names


def _swap_captions(rows: list[Row], rng: np.random.Generator) -> dict[int, Row]:
    """Give mismatched rows the caption of an intact row of another class."""
    intact = [row for row in rows if row.fault is None]
    swapped: dict[int, Row] = {}
    for row in _with_fault(rows, "mismatched"):
        other = row
        while other.picture.class_name == row.picture.class_name:
            other = pick(rng, intact)
        swapped[row.index] = replace(row, captioned=other.picture)
    return swapped


def _repeat_rows(rows: list[Row], rng: np.random.Generator) -> dict[int, Row]:
    """Let duplicates repeat an intact row that is as much on topic as they were meant to be."""
    repeated: dict[int, Row] = {}
    intact = {
        on_topic: [row for row in rows if row.fault is None and row.on_topic is on_topic]
        for on_topic in (True, False)
    }
    for row in _with_fault(rows, "exact_duplicate") + _with_fault(rows, "near_duplicate"):
        if not intact[row.on_topic]:
            raise ParameterError(
                f"fabricated_pool: no intact row is left for row {row.index} to repeat; raise "
                f"num_pairs ({len(rows)}) or lower the fractions of faulty rows"
            )
        source = pick(rng, intact[row.on_topic])
        repeated[row.index] = replace(
            row, picture=source.picture, captioned=source.picture, duplicate_of=source.index
        )
    return repeated


def _leak_test_images(
    rows: list[Row], parameters: FabricatedPool, rng: np.random.Generator
) -> dict[int, Row]:
    """Let leaked rows show test images of the target task, each once before any comes again."""
    pictures = evaluation_pictures(SCENES, "test", parameters)
    order = cycle(rng.permutation(len(pictures)).tolist())
    leaked: dict[int, Row] = {}
    for row, place in zip(_with_fault(rows, "leaked"), order, strict=False):
        leaked[row.index] = replace(row, picture=pictures[place], captioned=pictures[place])
    return leaked


def _corrupt(rows: list[Row]) -> dict[int, Row]:
    """Deal out the kinds of corruption in turn."""
    kinds: cycle[Corruption] = cycle(get_args(Corruption))
    corrupt = _with_fault(rows, "corrupt")
    return {row.index: replace(row, corruption=next(kinds)) for row in corrupt}


def _with_fault(rows: list[Row], fault: Fault) -> list[Row]:
    return [row for row in rows if row.fault == fault]
