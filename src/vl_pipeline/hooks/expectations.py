"""Refuse expectations that Great Expectations does not know, before the first node runs."""

from collections.abc import Generator
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from vl_pipeline.data.expectations import Expectations
from vl_pipeline.pipelines.validate.suite import require_known


class KnownExpectations:
    """Looks at the entries of a run that will check them."""

    @hook_impl(wrapper=True, tryfirst=True)  # around all others: nothing is locked or written yet
    def before_pipeline_run(
        self, pipeline: Pipeline, catalog: CatalogProtocol
    ) -> Generator[None, Any, Any]:
        """Build each entry once, and forget it.

        Raises:
            ParameterError: If an entry names an expectation or a setting that does not exist.
        """
        if any(node.name == "validate" for node in pipeline.nodes):
            entries = catalog.load("params:expectations")
            require_known(Expectations.model_validate(entries))
        return (yield)
