"""Make the embedded pool."""

from functools import partial

from vl_pipeline.data.fabricated import FabricatedPool, write_fabricated_pool
from vl_pipeline.datasets.folders import Writer


def fabricate(parameters: FabricatedPool) -> Writer:
    """Render a pool with known faults, the tasks it serves, and the truth about each pair."""
    return partial(write_fabricated_pool, parameters=parameters)
