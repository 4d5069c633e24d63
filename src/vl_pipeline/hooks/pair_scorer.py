"""Refuse to score pairs with a checkpoint that is not there, before the first node."""

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline


class PairScorerGuard:
    """Looks for the scorer of a run that has the stage score."""

    @hook_impl(tryfirst=True)  # before anything is locked or tracked
    def before_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Look before the stages that come first, which may take hours.

        Raises:
            ParameterError: If the scorer's folder holds no checkpoint.
        """
        if "params:pair_scorer" in pipeline.inputs():
            catalog.load("params:pair_scorer").require_checkpoint()
