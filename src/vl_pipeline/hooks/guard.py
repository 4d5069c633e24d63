"""Keep runs under DVC honest: what DVC cannot see must not change a result."""

import os
from typing import Any

from kedro.config import OmegaConfigLoader
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl

from vl_pipeline.errors import ParameterError
from vl_pipeline.hooks.flatten import flatten


class DvcGuard:
    """Refuses parameters that are not in `conf/base` when a stage runs under DVC."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Compare the parameters of the run with those in `conf/base`.

        Raises:
            ParameterError: If a stage of DVC runs with any other parameter.
        """
        stage = os.environ.get("DVC_STAGE")
        if stage is None:
            return
        loader = context.config_loader
        base = OmegaConfigLoader(
            conf_source=loader.conf_source, base_env="base", default_run_env="base"
        )["parameters"]
        changed = _changed(flatten(base), flatten(loader["parameters"]))
        if changed:
            raise ParameterError(
                f"DVC stage '{stage}': {', '.join(changed)} differ from conf/base, which is all "
                f"that DVC sees; change them there, for example with `dvc exp run -S`, and not by "
                f"--params, --env or conf/local"
            )


def _changed(base: dict[str, Any], run: dict[str, Any]) -> list[str]:
    return sorted(key for key in base.keys() | run.keys() if base.get(key) != run.get(key))
