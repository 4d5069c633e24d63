"""What happens around a run: guards before it, a summary and tracking after it."""

from vl_pipeline.hooks.guard import DvcGuard
from vl_pipeline.hooks.summary import SummaryHooks
from vl_pipeline.hooks.tracking import MlflowHooks

HOOKS = (DvcGuard(), MlflowHooks(), SummaryHooks())
