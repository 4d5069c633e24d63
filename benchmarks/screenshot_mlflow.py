"""Take a picture of MLflow's comparison of the runs in `mlflow.db`, in headless Chromium.

    python benchmarks/screenshot_mlflow.py OUT.png [--chromium chromium] [--task NAME]

Needs a `chromium` on the path. Starts MLflow on this machine's loopback for as long as it takes.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import mlflow

PORT = 5917


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--chromium", default="chromium")
    parser.add_argument("--task", help="only runs that curate for this task")
    arguments = parser.parse_args()
    store = "sqlite:///mlflow.db"
    place = ["--host", "127.0.0.1", "--port", str(PORT), "--backend-store-uri", store]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *place, "--workers", "1"],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )
    try:
        wait_for_server()
        take_picture(comparison_of(store, arguments.task), arguments)
    finally:
        server.terminate()
        server.wait()


def comparison_of(store: str, task: str | None) -> str:
    """Give the address of the page that charts the finished runs side by side."""
    client = mlflow.MlflowClient(store)
    experiment = client.get_experiment_by_name("vl_pipeline")
    if experiment is None:
        raise SystemExit("mlflow.db has no experiment vl_pipeline; run a pipeline first")
    wanted = "attributes.status = 'FINISHED'"
    if task is not None:
        wanted += f" and params.`tasks.curate_for` = '{json.dumps([task])}'"
    query = {
        "searchFilter": wanted,
        "compareRunsMode": "CHART",
        "workflowType": "machine_learning",
    }
    page = f"experiments/{experiment.experiment_id}/runs"
    return f"http://127.0.0.1:{PORT}/#/{page}?{urllib.parse.urlencode(query)}"


def wait_for_server() -> None:
    """Wait until MLflow answers."""
    for _ in range(120):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health", timeout=1)
        except OSError:
            time.sleep(1)
        else:
            return
    raise SystemExit("MLflow did not answer within two minutes")


def take_picture(address: str, arguments: argparse.Namespace) -> None:
    """Render a page and write it as PNG."""
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    flags += ["--disable-background-networking", "--no-first-run", "--disable-sync"]
    flags += ["--virtual-time-budget=200000", "--window-size=2000,1250"]
    command = [arguments.chromium, *flags, f"--screenshot={arguments.out}", address]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
