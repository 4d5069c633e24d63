"""Measure variants in turn, and write down what came out, where and how.

Every variant is run once a round, one after the other, so that what else the machine does strikes
all alike; the numbers given are medians over rounds, with the least and the most beside them, and
ratios are taken within rounds.
"""

import dataclasses
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("torch", "open_clip_torch", "webdataset", "pillow", "simplejpeg", "numpy", "pyarrow")


@dataclass(frozen=True)
class Turn:
    """One run of one variant."""

    cpu_seconds: float
    wall_seconds: float
    result: Any


def take_turns(
    variants: dict[str, Callable[[], Any]], *, rounds: int, keep_results: bool = False
) -> dict[str, list[Turn]]:
    """Run every variant once a round; CPU time is of this process and the children it waited for.

    Results may be large: without `keep_results` only the last round's are kept.
    """
    turns: dict[str, list[Turn]] = {name: [] for name in variants}
    for round_ in range(rounds):
        for name, run in variants.items():
            cpu, wall = cpu_seconds(), time.perf_counter()
            result = run()
            turn = Turn(cpu_seconds() - cpu, time.perf_counter() - wall, result)
            print(
                f"round {round_ + 1} of {rounds}: {name}: {turn.cpu_seconds:.2f} CPU s, "
                f"{turn.wall_seconds:.2f} s",
                flush=True,
            )
            if turns[name] and not keep_results:
                turns[name][-1] = dataclasses.replace(turns[name][-1], result=None)
            turns[name].append(turn)
    return turns


def cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    return {
        "median": round(median(values), digits),
        "least": round(min(values), digits),
        "most": round(max(values), digits),
    }


def ratios(one: Sequence[Turn], other: Sequence[Turn]) -> dict[str, float]:
    """CPU seconds of one variant over those of the other, round by round."""
    pairs = zip(one, other, strict=True)
    return spread([a.cpu_seconds / b.cpu_seconds for a, b in pairs], 2)


def shown(values: dict[str, float]) -> str:
    """Median (least to most)."""
    return f"{values['median']:,g} ({values['least']:,g} to {values['most']:,g})"


def circumstances(started: tuple[float, float, float]) -> dict[str, Any]:
    """What has to be known of a measurement; `started` is the load average when it began."""
    root = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "../src", "*.py")
    return {
        "date": date.today().isoformat(),
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "commit": git("rev-parse", "--short", "HEAD") + (" and changes" if changed else ""),
        "hardware": f"{os.cpu_count()} cores of {cpu_name()}, no GPU used",
        "threads": os.environ.get("OMP_NUM_THREADS", "not limited"),
        "load_average": [[round(x, 1) for x in load] for load in (started, os.getloadavg())],
        "versions": {"python": platform.python_version()} | {p: version(p) for p in _PACKAGES},
    }


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def write_results(name: str, *, title: str, about: dict[str, Any], page: str, data: Any) -> None:
    """Write `results/<name>.md` and `.json`."""
    RESULTS.mkdir(exist_ok=True)
    loads = " to ".join(str(load[0]) for load in about["load_average"])
    head = (
        f"# {title}\n\n`{about['command']}`, {about['date']}, commit {about['commit']}, "
        f"{about['hardware']}, OMP_NUM_THREADS {about['threads']}, load {loads}. "
        + ", ".join(f"{package} {number}" for package, number in about["versions"].items())
        + ".\nMedian over rounds (least to most); variants took turns in one run.\n\n"
    )
    (RESULTS / f"{name}.md").write_text(head + page.strip() + "\n")
    (RESULTS / f"{name}.json").write_text(json.dumps({"about": about, **data}, indent=2) + "\n")
    print("\n" + head + page)
