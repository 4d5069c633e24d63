"""Running img2dataset, in an interpreter that has it, until every shard of a download is done."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vl_pipeline.data.download.parameters import Download
from vl_pipeline.data.download.passes import SHARD_DIGITS, Passes
from vl_pipeline.data.download.report import report_of
from vl_pipeline.data.download.url_list import read_url_list
from vl_pipeline.data.locks import locked
from vl_pipeline.errors import ParameterError, ShardError

ENVIRONMENT = Path(".venv-img2dataset")
"""Where `make .venv-img2dataset/installed` puts img2dataset, below the project."""

_PROGRAM = Path(__file__).with_name("img2dataset_program.py")
_POLL_SECONDS = 0.2


def download(parameters: Download) -> dict[str, Any]:
    """Download what is not there yet, and give the report of all that is.

    Interrupted and started again, finished shards stay as they are. With `retry_failed` one
    further pass follows, unless an interrupted one was finished instead.

    Raises:
        ParameterError: If list, folder or interpreter cannot be used.
        InUseError: If another download fills the folder.
        ShardError: If img2dataset leaves shards unfinished.
    """
    with locked(Path(parameters.folder), what="download.folder"):
        return _download(parameters)


def _download(parameters: Download) -> dict[str, Any]:
    python = find_python(parameters.python)
    listed = read_url_list(
        Path(parameters.url_list),
        url_column=parameters.url_column,
        caption_column=parameters.caption_column,
    )
    passes = Passes(Path(parameters.folder), pairs_per_shard=parameters.pairs_per_shard)
    stored = {"pairs_per_shard": parameters.pairs_per_shard, **asdict(parameters.images)}
    passes.begin(listed, settings=stored)
    was_retrying = len(passes) > 1 and bool(passes.unfinished_shards())
    _fetch(passes, parameters, python)
    if parameters.retry_failed and not was_retrying and passes.retry():
        _fetch(passes, parameters, python)
    return report_of(passes)


def find_python(given: str | None) -> Path:
    """Find the interpreter that has img2dataset: the given one, this one, or `ENVIRONMENT`'s.

    Raises:
        ParameterError: If there is none.
    """
    if given is not None:
        if Path(given).is_file():
            return Path(given)
        raise ParameterError(
            f"download.python is '{given}', which is no file; name the interpreter of an "
            f"environment that has img2dataset, or null to look for one"
        )
    if importlib.util.find_spec("img2dataset") is not None:
        return Path(sys.executable)
    own = ENVIRONMENT / "bin/python"
    if own.exists():
        return own
    raise ParameterError(
        f"download.python is null, and img2dataset is neither beside {sys.executable} nor in "
        f"{ENVIRONMENT}; make that environment with `make {ENVIRONMENT}/installed`, or name an "
        f"interpreter that has img2dataset (conf/base/parameters_download.yml)"
    )


def _fetch(passes: Passes, parameters: Download, python: Path) -> None:
    """Run img2dataset over all passes, and settle their side tables."""
    if unfinished := passes.unfinished_shards():
        status = _run(passes, parameters, python, num_done=len(passes.shards()) - len(unfinished))
        if unfinished := passes.unfinished_shards():
            raise ShardError(
                f"{passes.folder}: img2dataset ended with status {status} and left "
                f"{len(unfinished)} of {len(passes.shards())} shards unfinished, the first is "
                f"{unfinished[0]}; see {_log(passes)}, then start the same command again, which "
                f"keeps what is finished"
            )
    passes.settle()


def _run(passes: Passes, parameters: Download, python: Path, *, num_done: int) -> int:
    requests = parameters.requests
    settings = {
        "bounds": {
            name: getattr(requests, name)
            for name in ("max_bytes", "max_seconds", "allow_private_addresses")
        },
        "arguments": _arguments(passes, parameters),
    }
    with (
        open(_log(passes), "w") as log,
        tqdm(
            total=len(passes.shards()),
            initial=num_done,
            desc="download",
            unit="shard",
            disable=None,
        ) as bar,
    ):
        process = subprocess.Popen(
            [python, "-I", _PROGRAM, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | _environment(parameters),
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                time.sleep(_POLL_SECONDS)
                bar.update(len(list(passes.folder.glob("*_stats.json"))) - bar.n)
        finally:
            assert process.stdin is not None
            process.stdin.close()  # which ends it, should it still run
            process.wait()
    return process.returncode


def _arguments(passes: Passes, parameters: Download) -> dict[str, Any]:
    """img2dataset's own names."""
    images, requests = parameters.images, parameters.requests
    return {
        "url_list": str(passes.lists),
        "input_format": "parquet",
        "url_col": "url",
        "caption_col": "caption",
        "output_folder": str(passes.folder),
        "output_format": "webdataset",
        "incremental_mode": "incremental",
        "number_sample_per_shard": parameters.pairs_per_shard,
        "oom_shard_count": SHARD_DIGITS,
        "processes_count": parameters.num_processes,
        "thread_count": parameters.num_threads,
        "image_size": images.image_size_px,
        "resize_mode": images.resize_mode,
        "resize_only_if_bigger": images.resize_only_if_bigger,
        "skip_reencode": images.skip_reencode,
        "encode_quality": images.encode_quality,
        "extract_exif": False,  # it may say where a picture was taken
        "timeout": requests.timeout_seconds,
        "retries": requests.num_retries,
        "user_agent_token": requests.user_agent_token,
        "disallowed_header_directives": list(requests.disallowed_header_directives),
        "enable_wandb": False,
    }


def _environment(parameters: Download) -> dict[str, str]:
    return {
        "OPENCV_IO_MAX_IMAGE_PIXELS": str(parameters.images.max_pixels),
        "NO_ALBUMENTATIONS_UPDATE": "1",  # it asks PyPI for its newest version when imported
    }


def _log(passes: Passes) -> Path:
    return passes.lists / "img2dataset.log"
