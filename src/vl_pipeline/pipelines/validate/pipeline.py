"""How validate is wired: the report is written before a broken contract stops the run."""

from kedro.pipeline import Node, Pipeline

from vl_pipeline.pipelines.validate.nodes import admit, validate


def create_pipeline() -> Pipeline:
    """Wire the stage."""
    given = ["indexed_pool", "ingest_ledger", "ingest_accounts"]
    parameters = ["params:pair_rules", "params:contract"]
    outputs = ["ledger", "validation_summary", "validation_report"]
    admitted = ["indexed_pool", "validation_summary", "params:pair_rules"]
    return Pipeline(
        [
            Node(validate, given + parameters, outputs, name="validate"),
            Node(admit, admitted, "pool", name="admit"),
        ]
    )
