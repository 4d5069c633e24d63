"""Hold the pairs that screening left to the pool's contract."""

from typing import Any

import pyarrow as pa

from vl_pipeline.data.expectations import Expectations
from vl_pipeline.data.ledger import count_by_rule
from vl_pipeline.data.pool import digest_of_pool
from vl_pipeline.errors import PoolError
from vl_pipeline.pipelines.validate.contract import check_contract
from vl_pipeline.pipelines.validate.report import render_report


def validate(
    pool: pa.Table,
    ledger: pa.Table,
    accounts: dict[str, Any],
    evidence: pa.Table,
    expectations: Expectations,
) -> tuple[dict[str, Any], str]:
    """Give a summary, and the report on the contract."""
    listed = accounts["num_listed"]
    result = check_contract(pool, num_listed=listed, ledger=ledger, expectations=expectations)
    summary = {
        "pool_digest": digest_of_pool(pool),
        "num_listed": listed,
        "num_kept": pool.num_rows,
        "num_rejected": ledger.num_rows,
        "rejected": count_by_rule(ledger),
        "num_failed_expectations": len(result.failed),
        "breach": result.breach,
        "expectations": result.expectations,
    }
    return summary, render_report(
        result, pool=pool, ledger=ledger, num_listed=listed, evidence=evidence
    )


def admit(screened: pa.Table, summary: dict[str, Any]) -> pa.Table:
    """Give the pool, unless its contract is broken.

    A node of its own, so that ledger and report are on disk when it stops the run.

    Raises:
        PoolError: If the contract is broken.
    """
    if summary["breach"]:
        raise PoolError(summary["breach"])
    return screened
