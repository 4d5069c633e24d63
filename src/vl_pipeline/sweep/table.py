"""A sweep's results as rows: one per strategy and value, with mean and spread over seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vl_pipeline.errors import CurationError
from vl_pipeline.sweep.run import Result

MAIN_METRICS = ("zero_shot_top1", "text_to_image_recall_at_5")
"""What a task is judged by: the first for classification, the second for retrieval."""


@dataclass(frozen=True)
class Spread:
    """A number measured once for each seed."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float:
        """Sample standard deviation over seeds; 0 for one seed."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else 0.0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One strategy at one value.

    Attributes:
        strategy: Its name.
        value: Of what it varies; None where it varies nothing.
        threshold: The parameter `curation.threshold`, for strategies that have one.
        results: One per seed, in the order of the seeds.
    """

    strategy: str
    value: float | None
    threshold: float | None
    results: tuple[Result, ...]

    @property
    def label(self) -> str:
        """Name of strategy and value."""
        return self.strategy if self.value is None else f"{self.strategy} {self.value:g}"

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that were evaluated."""
        return tuple(self.results[0]["metrics"])

    def over_seeds(self, number: Callable[[Result], float]) -> Spread:
        """Read a number from the result of each seed."""
        return Spread(tuple(float(number(result)) for result in self.results))

    def evaluated(self, task: str) -> Spread:
        """The task's main metric on the evaluated split, after the last step."""
        return self.over_seeds(lambda r: r["metrics"][task][metric_of(r["metrics"][task])])

    def validated(self, task: str) -> Spread | None:
        """The same on the validation split; None for a task without one."""
        names = [f"{task}_{metric}" for metric in MAIN_METRICS]
        found = [n for n in names if self.results[0]["validation"] and n in _last(self.results[0])]
        return self.over_seeds(lambda r: _last(r)[found[0]]) if found else None

    @property
    def kept_share(self) -> Spread:
        """Share of what was looked at that was kept: over the rounds, else of the whole pool."""
        return self.over_seeds(
            lambda r: r["training"].get("mean_keep_fraction", r["curation"]["keep_fraction"])
        )

    @property
    def num_different_pairs(self) -> Spread:
        """Pairs that were trained on at least once."""
        return self.over_seeds(lambda r: r["training"]["num_unique_pairs"])

    @property
    def seconds(self) -> Spread:
        """Wall time of training, curation in rounds included."""
        return self.over_seeds(lambda r: r["seconds"])

    @property
    def relaxed_share(self) -> Spread:
        """Share of the kept pairs that relaxation kept, not the threshold."""
        return self.over_seeds(_relaxed_share)

    def first_reach(self, task: str, goal: float) -> list[float | None]:
        """Pairs seen at the first validation that reaches `goal`, by seed; None where none does."""
        name = f"{task}_{MAIN_METRICS[0]}"
        return [
            next((p["pairs_seen"] for p in r["validation"] if p.get(name, -1.0) >= goal), None)
            for r in self.results
        ]


def rows_of(results: Sequence[Result]) -> list[Row]:
    """Group results by strategy and value, in their order; cells that failed are left out.

    Raises:
        CurationError: If all of them failed.
    """
    groups: dict[tuple[str, float | None], list[Result]] = {}
    for result in results:
        if "error" in result:
            continue
        groups.setdefault((result["strategy"], result["value"]), []).append(result)
    if not groups:
        raise CurationError(f"no cell of the sweep could be trained: {results[0]['error']}")
    return [
        Row(
            strategy=strategy,
            value=value,
            threshold=_threshold(group[0]["parameters"]["curation"]),
            results=tuple(sorted(group, key=lambda r: r["seed"])),
        )
        for (strategy, value), group in groups.items()
    ]


def best_by_validation(rows: Sequence[Row], tasks: Sequence[str]) -> Row:
    """The row with the highest mean validation accuracy over `tasks`; the first of equals."""
    return max(rows, key=lambda row: mean_validated(row, tasks))


def mean_validated(row: Row, tasks: Sequence[str]) -> float:
    """Mean validation accuracy over tasks and seeds; 0 where there is no validation split."""
    found = [spread.mean for task in tasks if (spread := row.validated(task)) is not None]
    return float(np.mean(found)) if found else 0.0


def metric_of(metrics: dict[str, Any]) -> str:
    """Name of a task's main metric."""
    return next(name for name in MAIN_METRICS if name in metrics)


def by_strategy(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of each strategy, in order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.strategy, []).append(row)
    return groups


def _last(result: Result) -> dict[str, float]:
    return result["validation"][-1]


def _threshold(curation: dict[str, Any]) -> float | None:
    found = [curation.get("threshold")]
    found += [_threshold(v) for v in curation.values() if isinstance(v, dict)]
    return next((value for value in found if value is not None), None)


def _relaxed_share(result: Result) -> float:
    records = result["rounds"] or [result["curation"]]
    kept = sum(record["num_kept"] for record in records)
    relaxed = sum(
        number
        for record in records
        for name, number in record.items()
        if name.startswith("kept_by_") and "relaxation" in name  # of two rules: both are named
    )
    return relaxed / max(1, kept)
