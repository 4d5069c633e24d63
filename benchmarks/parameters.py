"""The parameters of `conf/base`, for benchmarks that run parts of stages by themselves."""

from pathlib import Path
from typing import Any

import yaml

from vl_pipeline.data.pairs import PairLimits

CONF = Path(__file__).parents[1] / "conf/base"


def parameters(name: str) -> dict[str, Any]:
    return yaml.safe_load((CONF / f"parameters_{name}.yml").read_text())


def pair_limits() -> PairLimits:
    return PairLimits(**parameters("pool")["pool"]["limits"])
