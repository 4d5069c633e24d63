"""What happens around a run: guards and locks before it, a summary and tracking after it."""

from vl_pipeline.hooks.early_refusals import EarlyRefusals
from vl_pipeline.hooks.guard import DvcGuard
from vl_pipeline.hooks.interruption import InterruptionHooks
from vl_pipeline.hooks.lock import RunLocks
from vl_pipeline.hooks.summary import SummaryHooks
from vl_pipeline.hooks.tracking import MlflowHooks

HOOKS = (
    DvcGuard(),
    EarlyRefusals(),
    RunLocks(),
    InterruptionHooks(),
    MlflowHooks(),
    SummaryHooks(),
)
