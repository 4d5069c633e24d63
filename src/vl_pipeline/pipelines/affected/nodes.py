"""Hold a list of pairs against the lineage of every checkpoint on record."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.data.pair_lists import read_pair_list
from vl_pipeline.datasets.tracked_runs import TrackedCheckpoint
from vl_pipeline.errors import ParameterError
from vl_pipeline.pipelines.affected.judge import judge, render

logger = logging.getLogger(__name__)


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class AffectedQuery:
    """Which pairs are asked about.

    Attributes:
        list: Path of a list of pairs (`vl_pipeline.data.pair_lists`).
    """

    list: str | None


def affected(checkpoints: Iterator[TrackedCheckpoint], query: AffectedQuery) -> dict[str, Any]:
    """Say of every checkpoint whether it saw a listed pair, did not, or cannot be judged."""
    if query.list is None:
        raise ParameterError(
            "affected.list is not set; name a .csv, .parquet or .txt file of pairs, for example "
            "`kedro run --pipelines affected --params affected.list=remove.txt`"
        )
    report = judge(checkpoints, read_pair_list(Path(query.list)))
    logger.info("\n%s\n", render(report))
    return {"list": query.list, **report}
