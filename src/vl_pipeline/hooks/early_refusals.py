"""Refuse what a stage would only find out hours later, before the first node runs."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from vl_pipeline.data.expectations import Expectations
from vl_pipeline.errors import ParameterError
from vl_pipeline.methods import all_methods
from vl_pipeline.pipelines.validate.suite import require_known
from vl_pipeline.sweep.plan import OWN_BLOCKS, SHARED_BLOCKS, blocks_of, plan_cells


class EarlyRefusals:
    """Checks the parameters of the stages in a run that no type can check."""

    @hook_impl(wrapper=True, tryfirst=True)
    def before_pipeline_run(
        self, pipeline: Pipeline, catalog: CatalogProtocol
    ) -> Generator[None, Any, Any]:
        """Check what the run's nodes will need, around all other hooks.

        pluggy enters wrappers before plain hooks, `tryfirst` or not, and `RunLocks` is a wrapper:
        only the first wrapper of all refuses before anything is locked, tracked or written.

        Raises:
            ParameterError: If a check refuses a value.
        """
        nodes = {node.name for node in pipeline.nodes}
        if "validate" in nodes:
            _require_known_expectations(catalog)
        if "score" in nodes:
            _require_scorer(catalog)
        if "cit_sweep.run" in nodes:
            _require_cells_that_can_run(catalog)
        return (yield)


def _require_known_expectations(catalog: CatalogProtocol) -> None:
    """Refuse an expectation, or a setting of one, that Great Expectations does not know."""
    require_known(Expectations.model_validate(catalog.load("params:expectations")))


def _require_scorer(catalog: CatalogProtocol) -> None:
    """Refuse to score pairs with a checkpoint that is not there."""
    catalog.load("params:pair_scorer").require_checkpoint()


def _require_cells_that_can_run(catalog: CatalogProtocol) -> None:
    """Refuse a sweep with a method or parameter that does not exist, or a value out of range."""
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
