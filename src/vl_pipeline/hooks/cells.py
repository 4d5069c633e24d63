"""Refuse a sweep with a cell that cannot run, before the first node runs."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from vl_pipeline.errors import ParameterError
from vl_pipeline.methods import all_methods
from vl_pipeline.sweep.plan import OWN_BLOCKS, SHARED_BLOCKS, blocks_of, plan_cells


class KnownCells:
    """Plans the sweep of a run that will make one."""

    @hook_impl(wrapper=True, tryfirst=True)  # around all others: nothing is locked or written yet
    def before_pipeline_run(
        self, pipeline: Pipeline, catalog: CatalogProtocol
    ) -> Generator[None, Any, Any]:
        """Build each cell's parameters once, and forget them.

        Raises:
            ParameterError: If a strategy names a method or a parameter that does not exist, or a
                value is refused.
        """
        if any(node.name == "cit_sweep.run" for node in pipeline.nodes):
            shared = {name: catalog.load(f"params:{name}") for name in SHARED_BLOCKS}
            names = [f"{method.name}.{block}" for method in all_methods() for block in OWN_BLOCKS]
            own = {name: catalog.load(f"params:{name}") for name in names}
            sweep = catalog.load("params:cit_sweep")
            plan_cells(sweep, blocks_of(own, **shared))
            if sweep.pair_scores and not Path(sweep.pair_scores).exists():
                raise ParameterError(
                    f"cit_sweep.pair_scores: {sweep.pair_scores} does not exist; run `kedro run "
                    f"--pipelines score` first, or take out the strategies that need it"
                )
        return (yield)
