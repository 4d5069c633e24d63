"""Time and memory of each stage as the pool grows.

    OMP_NUM_THREADS=1 python benchmarks/scale.py FOLDER [--sizes 20000 200000 1000000]
        [--encode 20000]

FOLDER gets a pool of each size: img2dataset's shards of 10,000 pairs with captions of real lengths
(`made_up.captions`) and pictures of 16 px (rules ask for that many), each another. Same size, same
bytes. Every stage is a fresh process (`stages.py`) on what the stages before left.

What is limited, because at a million captions it would take an hour here: `embed` tokenises every
caption and takes two SimCSE steps, but encodes `--encode` captions only (time a caption is given);
`curate` reads features that were drawn at random for all pairs, and `round` is a training of one
step with CiT's schedule: it scans the pool until 50 batches of 128 are kept. Of `round`, the time
includes building the model and writing a checkpoint.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import simplejpeg
from side_by_side import RESULTS, circumstances, table, write_results

ROOT = RESULTS.parents[1]
PER_SHARD = 10_000
SIDE_PX = 16
TARGETS = ("dog", "red car", "wooden table", "city at night", "bowl of fruit")
STAGES = ("ingest", "screen", "validate", "tokenise", "encode", "curate", "round")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 200_000, 1_000_000])
    parser.add_argument("--encode", type=int, default=20_000, help="captions that are encoded")
    arguments = parser.parse_args()
    started = os.getloadavg()
    taken: dict[int, dict[str, dict]] = {}
    for size in arguments.sizes:
        folder = (arguments.folder / str(size)).resolve()
        write_pool(folder, size)
        taken[size] = {}
        shutil.rmtree(
            folder / "scratch", ignore_errors=True
        )  # a kept stage would not be done again
        for stage in STAGES:
            taken[size][stage] = run(stage, folder, size, arguments.encode)
            t = taken[size][stage]
            print(
                f"{size} pairs: {stage}: {t['wall_seconds']:.1f} s, {t['cpu_seconds']:.1f} CPU s, "
                f"peak {t['peak_bytes'] / 2**20:.0f} MiB",
                flush=True,
            )
        taken[size]["state"] = state_bytes(folder, taken[size]["validate"]["num_pairs"])
    report(taken, started)


def report(taken: dict[int, dict[str, dict]], started: Any) -> None:
    sizes = list(taken)
    headings = ["stage", *(f"{s:,}" for s in sizes)]
    times, rates, memory = [], [], []
    for stage in STAGES:
        runs = [taken[size][stage] for size in sizes]
        counts = [r.get("num_done", size) for r, size in zip(runs, sizes, strict=True)]
        times.append([stage, *(f"{r['wall_seconds']:.1f} ({r['cpu_seconds']:.1f})" for r in runs)])
        rates.append(
            [
                stage,
                *(f"{1e6 * r['cpu_seconds'] / n:,.1f}" for r, n in zip(runs, counts, strict=True)),
            ]
        )
        memory.append(
            [
                stage,
                *(f"{r['peak_bytes'] / 2**20:,.0f} ({_grown(r) / 2**20:,.0f} own)" for r in runs),
                f"{(_grown(runs[-1]) - _grown(runs[0])) / max(1, sizes[-1] - sizes[0]):,.0f}",
            ]
        )
    names = list(taken[sizes[0]]["state"])
    state = [[n, *(f"{taken[s]['state'][n]:.1f}" for s in sizes)] for n in names]
    page = (
        "## Seconds (and CPU seconds, workers too)\n\n"
        + table(headings, times)
        + "\n## Microseconds of CPU a pair\n\nOf `encode` a caption encoded, of `round` a pair "
        "scanned.\n\n"
        + table(headings, rates)
        + "\n## Most memory, MiB\n\nIn brackets what the process itself came to hold beyond its "
        "imports, without mapped files; the last column is how that grows, bytes a pair.\n\n"
        + table([*headings, "bytes a pair"], memory)
        + "\n## On disk, bytes a pair that was kept\n\n"
        + table(["file", *headings[1:]], state)
    )
    write_results("scale", title="Growing pools", about=circumstances(started), page=page,
                  data={"runs": {str(size): runs for size, runs in taken.items()}})  # fmt: skip


def _grown(run: dict) -> int:
    return run["peak_anonymous_bytes"] - run["bytes_before"]


def write_pool(folder: Path, size: int) -> None:
    """Write shards and tables as img2dataset does, and one small task."""
    pool = folder / "raw/pool"
    if (folder / "raw/whole").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    pool.mkdir(parents=True)
    for start in range(0, size, PER_SHARD):
        num, name = min(PER_SHARD, size - start), f"{start // PER_SHARD:05d}"
        texts = made_up.captions(num, seed=start)
        keys = [f"{name}{n:05d}" for n in range(num)]
        images = tiny_pictures(num, seed=start)
        made_up.write_shard(pool / f"{name}.tar", zip(keys, images, texts, strict=True))
        columns = {"key": keys, "caption": texts, "status": ["success"] * num}
        columns["error_message"] = pa.nulls(num, pa.string())
        pq.write_table(pa.table(columns), pool / f"{name}.parquet")
    task = folder / "raw/targets/few"
    (task / "test").mkdir(parents=True)
    (task / "classnames.txt").write_text("\n".join(TARGETS) + "\n")
    (task / "zeroshot_classification_templates.txt").write_text("{c}\n")
    write_task(task / "test/0.tar")
    (folder / "raw/whole").touch()


def tiny_pictures(num: int, *, seed: int) -> list[bytes]:
    """Clouds with the spectrum of photographs, so that their hashes crowd as photographs' do."""
    draw = np.random.default_rng(seed)
    shape = (num, SIDE_PX, SIDE_PX)
    grey = made_up.noise(draw, shape, 1.5)
    colours = np.stack([made_up.noise(draw, shape, 1.5) for _ in range(3)], axis=-1)
    pixels = (128 + 50 * grey[..., None] + 20 * colours).clip(0, 255).astype(np.uint8)
    return [simplejpeg.encode_jpeg(p, quality=75) for p in pixels]


def write_task(shard: Path) -> None:
    import io
    import tarfile

    with tarfile.open(shard, "w") as archive:
        for n, image in enumerate(tiny_pictures(len(TARGETS), seed=2**31)):
            for suffix, content in (("jpg", image), ("cls", str(n).encode())):
                header = tarfile.TarInfo(f"{n:05d}.{suffix}")
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))


def run(stage: str, folder: Path, size: int, num_encoded: int) -> dict[str, Any]:
    """Run one stage as a process of its own."""
    tasks = {"curate_for": ["few"], "evaluate_on": ["few"]}
    settings: dict[str, Any] = {"tasks": tasks, "text_start": {"num_steps": 2}}
    name, place = stage, folder
    if stage in ("tokenise", "encode"):
        name = "embed_part"
        settings["num_encoded"] = 0 if stage == "tokenise" else min(size, num_encoded)
    if stage == "curate":
        draw_features(folder)
    if stage == "round":
        name = "train"
        settings["training"] = {"num_steps": 1}
        settings["cit"] = {"curation": {"threshold": 0.85}}
    command = [sys.executable, str(Path(__file__).with_name("stages.py")), name, str(place)]
    command += ["--settings", json.dumps(settings)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{stage} of {size} pairs failed:\n{done.stderr[-4000:]}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    if stage == "round":
        found["num_done"] = sum(found["num_scanned"])
    return found


def draw_features(folder: Path) -> None:
    """Put random features of all captions in the place of those of the few that were encoded."""
    path = folder / "embeddings/captions.npy"
    num = pq.read_metadata(folder / "pool.parquet").num_rows
    width = np.load(folder / "embeddings/targets.npy").shape[1]
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=(num, width))
    draw = np.random.default_rng(0)
    for start in range(0, num, PER_SHARD):
        block = draw.standard_normal((min(PER_SHARD, num - start), width), dtype=np.float32)
        array[start : start + PER_SHARD] = block / np.linalg.norm(block, axis=1, keepdims=True)
    array.flush()


def state_bytes(folder: Path, num_pairs: int) -> dict[str, float]:
    """What the stages keep, in bytes a pair."""
    raw = sum(f.stat().st_size for f in (folder / "raw/pool").iterdir())
    files = {
        "raw shards": raw,
        "pool.parquet": (folder / "pool.parquet").stat().st_size,
        "tokens": sum(f.stat().st_size for f in (folder / "tokens").iterdir()),
        "embeddings": sum(f.stat().st_size for f in (folder / "embeddings").iterdir()),
        "manifest": (folder / "curated-cit.parquet").stat().st_size,
    }
    return {name: size / num_pairs for name, size in files.items()}


if __name__ == "__main__":
    main()
