"""Take a picture of MLflow's comparison of the runs in `mlflow.db`, in headless Chromium.

    python benchmarks/screenshot_mlflow.py OUT.png [--chromium chromium] [--task NAME]
    python benchmarks/screenshot_mlflow.py OUT.png --sweep --metric eval/TASK_zero_shot_top1

With `--sweep`, cells of the last finished sweep are compared in parallel coordinates; that needs
`chromedriver` too, to choose what is shown. Needs a `chromium` on the path. Starts MLflow on this
machine's loopback for as long as it takes.
"""

import argparse
import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import mlflow

PORT = 5917
DRIVER_PORT = 5918
LOADING_SECONDS = 30  # of all runs into the page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--chromium", default="chromium")
    parser.add_argument("--task", help="only runs that curate for this task")
    parser.add_argument("--sweep", action="store_true", help="compare the cells of the last sweep")
    parser.add_argument(
        "--metric", nargs="+", default=["curation/keep_fraction"], help="of a sweep's cells"
    )
    arguments = parser.parse_args()
    store = "sqlite:///mlflow.db"
    place = ["--host", "127.0.0.1", "--port", str(PORT), "--backend-store-uri", store]
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *place, "--workers", "1"],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )
    try:
        wait_for_server()
        if arguments.sweep:
            take_picture_of_parallel_coordinates(cells_of(store), arguments)
        else:
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


def cells_of(store: str) -> str:
    """Give the address of the page that compares the cells of the last sweep."""
    client = mlflow.MlflowClient(store)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    finished = "tags.method = 'cit_sweep' and attributes.status = 'FINISHED'"
    sweeps = client.search_runs(ids, finished, max_results=1)
    if not sweeps:
        raise SystemExit(
            "mlflow.db has no finished sweep; run `kedro run --pipelines cit_sweep` first"
        )
    query = f"tags.`mlflow.parentRunId` = '{sweeps[0].info.run_id}'"
    cells = [run.info.run_id for run in client.search_runs(ids, query)]
    experiment = [sweeps[0].info.experiment_id]
    query = "&".join(
        f"{name}={urllib.parse.quote(json.dumps(ids, separators=(',', ':')))}"
        for name, ids in (("runs", cells), ("experiments", experiment))
    )
    return f"http://127.0.0.1:{PORT}/#/compare-runs?{query}"


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


def take_picture_of_parallel_coordinates(address: str, arguments: argparse.Namespace) -> None:
    """Choose what is compared in MLflow's page, as a person would, and write the page as PNG."""
    driver = subprocess.Popen(["chromedriver", f"--port={DRIVER_PORT}"])
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1900,1000"]
    options = {"args": [*flags, "--disable-background-networking"]}
    try:
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        session = f"/session/{ask('/session', wanted)['sessionId']}"
        ask(f"{session}/url", {"url": address})
        time.sleep(LOADING_SECONDS)
        run_script(session, "document.querySelector('[data-testid=clear-button]').click()")
        for number, names in ((1, ["strategy", "value"]), (2, arguments.metric)):
            for name in names:
                choose(session, number, name)
        time.sleep(5)
        arguments.out.write_bytes(base64.b64decode(ask(f"{session}/screenshot")))
    finally:
        driver.terminate()
        driver.wait()


def choose(session: str, number: int, name: str) -> None:
    """Choose an entry of the page's first or second list, which shows some entries at a time."""
    mouse = "new MouseEvent('mousedown', {bubbles: true})"
    opener = f"document.getElementById('dubois-select-{number}')"
    is_closed = f"{opener}.getAttribute('aria-expanded') !== 'true'"
    press = f"{opener}.closest('[class*=select-selector]').dispatchEvent({mouse})"
    run_script(session, f"if ({is_closed}) {press}")
    for _ in range(200):
        time.sleep(0.2)
        found = run_script(
            session,
            "const e = [...document.querySelectorAll('[class*=select-item-option][title]')]"
            ".find(e => e.title === arguments[0] && e.offsetParent);"
            "if (e) { e.click(); return true; }"
            "for (const list of document.querySelectorAll('[class*=list-holder]'))"
            "  if (list.offsetParent) list.scrollTop += 100;"
            "return false;",
            name,
        )
        if found:
            return
    raise SystemExit(f"MLflow's page offers no '{name}'; its lists may have changed")


def run_script(session: str, script: str, *values: str) -> Any:
    return ask(f"{session}/execute/sync", {"script": script, "args": list(values)})


def ask(path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask chromedriver, in W3C WebDriver's words, and wait for it to be there."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{DRIVER_PORT}{path}", data, {"Content-Type": "application/json"}
    )
    for _ in range(60):
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise SystemExit(error.read().decode()) from error
        except OSError:
            time.sleep(0.5)
    raise SystemExit("chromedriver did not answer within half a minute")


if __name__ == "__main__":
    main()
