"""What happens around a run: guards and locks before it, a summary and tracking after it."""

from vl_pipeline.hooks.cells import KnownCells
from vl_pipeline.hooks.expectations import KnownExpectations
from vl_pipeline.hooks.guard import DvcGuard
from vl_pipeline.hooks.interruption import InterruptionHooks
from vl_pipeline.hooks.lock import RunLocks
from vl_pipeline.hooks.pair_scorer import PairScorerGuard
from vl_pipeline.hooks.summary import SummaryHooks
from vl_pipeline.hooks.tracking import MlflowHooks

HOOKS = (
    DvcGuard(),
    KnownExpectations(),
    PairScorerGuard(),
    KnownCells(),
    RunLocks(),
    InterruptionHooks(),
    MlflowHooks(),
    SummaryHooks(),
)
