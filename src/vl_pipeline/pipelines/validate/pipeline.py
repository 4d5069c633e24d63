"""How validate is wired: the report is written before a broken contract stops the run."""

from kedro.pipeline import Node, Pipeline

from vl_pipeline.pipelines.validate.nodes import admit, validate


def create_pipeline() -> Pipeline:
    """Wire the stage."""
    given = ["screened_pool", "ledger", "ingest_accounts", "screening_evidence"]
    parameters = ["params:expectations"]
    outputs = ["validation_summary", "validation_report"]
    return Pipeline(
        [
            Node(validate, given + parameters, outputs, name="validate"),
            Node(admit, ["screened_pool", "validation_summary"], "pool", name="admit"),
        ]
    )
