"""Drop pairs that break a rule, and hold what is left to the pool's contract."""

from typing import Any

import pyarrow as pa

from vl_pipeline.data.ledger import count_by_rule, require_balance
from vl_pipeline.data.pool import digest_of_pool
from vl_pipeline.data.rules import PairRules, apply_pair_rules
from vl_pipeline.errors import PoolError
from vl_pipeline.pipelines.validate.contract import PoolContract, check_contract
from vl_pipeline.pipelines.validate.report import render_report


def validate(
    indexed: pa.Table,
    ingest_ledger: pa.Table,
    accounts: dict[str, Any],
    rules: PairRules,
    contract: PoolContract,
) -> tuple[pa.Table, dict[str, Any], str]:
    """Give the ledger of all stages so far, a summary, and the report on the contract."""
    pool, rejected = apply_pair_rules(indexed, rules)
    require_balance("validate", num_in=indexed.num_rows, num_kept=pool.num_rows, ledger=rejected)
    ledger = pa.concat_tables([ingest_ledger, rejected])
    listed = accounts["num_listed"]
    result = check_contract(pool, num_listed=listed, ledger=ledger, rules=rules, contract=contract)
    summary = {
        "pool_digest": digest_of_pool(pool),
        "num_listed": listed,
        "num_kept": pool.num_rows,
        "num_rejected": ledger.num_rows,
        "rejected": count_by_rule(ledger),
        "breach": result.breach,
        "expectations": result.expectations,
    }
    return ledger, summary, render_report(result, pool=pool, ledger=ledger, num_listed=listed)


def admit(indexed: pa.Table, summary: dict[str, Any], rules: PairRules) -> pa.Table:
    """Give the pool, unless its contract is broken.

    A node of its own, so that ledger and report are on disk when it stops the run.

    Raises:
        PoolError: If the contract is broken.
    """
    if summary["breach"]:
        raise PoolError(summary["breach"])
    pool, _ = apply_pair_rules(indexed, rules)
    return pool
