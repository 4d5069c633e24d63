"""`make ui` serves MLflow to this machine and to no other."""

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.projects import ROOT


def test_only_this_machine_can_reach_the_ui(tmp_path: Path) -> None:
    environment, command = _command_of_make_ui()
    assert "--host 127.0.0.1" in shlex.join(command)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [port if word == "5000" else word for word in command]
    server = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        listening = _wait_for_listeners(server)
    finally:
        children = psutil.Process(server.pid).children(recursive=True)
        for process in [*children, psutil.Process(server.pid)]:
            process.kill()
        server.wait()

    assert {address.ip for address in listening} == {"127.0.0.1"}
    assert int(port) in {address.port for address in listening}


def _command_of_make_ui() -> tuple[dict[str, str], list[str]]:
    """Read what the target `ui` of the Makefile runs: its variables and its words."""
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    found = re.search(r"^ui:.*\n\t(.*)$", makefile, re.MULTILINE)
    assert found is not None
    scripts = str(Path(sys.executable).parent)
    words = shlex.split(found[1].replace("$(BIN)", scripts))
    variables = [word for word in words if re.match(r"[A-Z_]+=", word)]
    return dict(word.split("=", 1) for word in variables), words[len(variables) :]


def _wait_for_listeners(server: "subprocess.Popen[bytes]") -> list:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if server.poll() is not None:
            pytest.fail(f"the server ended with {server.returncode}")
        main = psutil.Process(server.pid)
        found = [
            connection.laddr
            for process in [main, *main.children(recursive=True)]
            for connection in process.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        ]
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError("the server did not begin to listen")
