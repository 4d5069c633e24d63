"""Kedro's settings: the project's hooks, and how configuration is loaded and merged."""

from vl_pipeline.config_loader import ConfigLoader
from vl_pipeline.hooks import HOOKS as _HOOKS

HOOKS = _HOOKS
CONFIG_LOADER_CLASS = ConfigLoader

# Environments change single numbers, so `conf/test` and `conf/local` are merged key by key.
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "merge_strategy": {"parameters": "soft"},
    "config_patterns": {"mlflow": ["mlflow*"]},
}
