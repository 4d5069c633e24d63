"""The stages, run on a folder without Kedro: the nodes' own functions on the nodes' own files.

    python benchmarks/stages.py STAGE FOLDER [--method cit] [--settings JSON] [--profile]

Parameters are those of `conf/base`, with `--settings` over them. FOLDER/raw holds pool and targets.
Prints, as a last line, what the stage took as JSON: seconds from the first line of the stage to the
last file on disk (imports left out), CPU seconds of it and of its workers, and the most memory.
"""

import argparse
import cProfile
import dataclasses
import json
import os
import pstats
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from pydantic import TypeAdapter

from vl_pipeline.data.atomic import atomic_folder, write_json, write_table
from vl_pipeline.data.expectations import Expectations
from vl_pipeline.data.fabricated import FabricatedPool, write_fabricated_pool
from vl_pipeline.data.shards import PoolShards, index_shard
from vl_pipeline.data.tasks import Tasks, read_target_texts
from vl_pipeline.data.tokens import fill_tokens, tokenize
from vl_pipeline.embedding.store import fill_embeddings
from vl_pipeline.method import Method
from vl_pipeline.methods import all_methods
from vl_pipeline.models.towers import DualEncoderConfig, build_tokenizer
from vl_pipeline.models.weights import fill_weights
from vl_pipeline.pipelines.curate.nodes import curate_with
from vl_pipeline.pipelines.embed.nodes import embed_with
from vl_pipeline.pipelines.ingest.nodes import ingest as ingest_node
from vl_pipeline.pipelines.screen.nodes import screen as screen_node
from vl_pipeline.pipelines.train.nodes import train_with
from vl_pipeline.pipelines.validate.nodes import admit
from vl_pipeline.pipelines.validate.nodes import validate as validate_node
from vl_pipeline.screening.parameters import Screening
from vl_pipeline.training.loop import Training
from vl_pipeline.training.simcse import SimCse
from vl_pipeline.training.start import embed_captions

CONF = Path(__file__).parents[1] / "conf/base"
POLL_SECONDS = 0.02
Settings = dict[str, Any]


def parameters(settings: Settings) -> Settings:
    found: Settings = {}
    for file in CONF.glob("parameters_*.yml"):
        found |= yaml.safe_load(file.read_text())
    return _over(found, settings)


def _over(base: Settings, over: Settings) -> Settings:
    merged = dict(base)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _over(merged[name], value) if both else value
    return merged


def _as(kind: Any, values: Any) -> Any:
    return TypeAdapter(kind).validate_python(values)


def fabricate(folder: Path, **settings: Any) -> None:
    values = parameters({"fabricated_pool": settings})["fabricated_pool"]
    (folder / "raw").parent.mkdir(parents=True, exist_ok=True)
    write_fabricated_pool(folder / "raw", _as(FabricatedPool, values))


def _pool_shards(folder: Path, values: Settings) -> PoolShards:
    return _as(PoolShards, values["pool"] | {"folder": str(folder / "raw/pool")})


def _tasks(folder: Path, values: Settings) -> Tasks:
    return _as(Tasks, values["tasks"] | {"folder": str(folder / "raw/targets")})


def ingest(folder: Path, values: Settings, _: Method) -> Settings:
    scratch = folder / "scratch/ingest"
    scratch.mkdir(parents=True, exist_ok=True)
    pairs, ledger, accounts = ingest_node(_pool_shards(folder, values), scratch)
    write_table(folder / "indexed.parquet", pairs)
    write_table(folder / "ingest_ledger.parquet", ledger)
    write_json(folder / "accounts.json", accounts)
    return {"num_pairs": pairs.num_rows}


def index_one_shard(folder: Path, values: Settings, _: Method) -> Settings:
    """Index the first shard in this process, where a profiler sees it."""
    shards = _pool_shards(folder, values)
    path = min(Path(shards.folder).glob("*.tar"))
    return {"num_pairs": index_shard(path, path.name, shards.limits).pairs.num_rows}


def screen(folder: Path, values: Settings, __: Method) -> Settings:
    cache = folder / "scratch/screening"
    cache.mkdir(parents=True, exist_ok=True)
    pairs, ledger, evidence, _ = screen_node(
        pq.read_table(folder / "indexed.parquet"),
        pq.read_table(folder / "ingest_ledger.parquet"),
        Expectations.model_validate(values["expectations"]),
        _as(Screening, values["screening"]),
        _pool_shards(folder, values),
        _tasks(folder, values),
        cache,
    )
    write_table(folder / "screened.parquet", pairs)
    write_table(folder / "ledger.parquet", ledger)
    write_table(folder / "evidence.parquet", evidence)
    return {"num_pairs": pairs.num_rows}


def validate(folder: Path, values: Settings, _: Method) -> Settings:
    screened = pq.read_table(folder / "screened.parquet")
    summary, page = validate_node(
        screened,
        pq.read_table(folder / "ledger.parquet"),
        json.loads((folder / "accounts.json").read_text()),
        pq.read_table(folder / "evidence.parquet"),
        Expectations.model_validate(values["expectations"]),
    )
    (folder / "report.html").write_text(page)
    write_table(folder / "pool.parquet", admit(screened, summary))
    return {"num_pairs": screened.num_rows}


def embed(folder: Path, values: Settings, _: Method) -> Settings:
    pool = _pool(folder)
    cache = folder / "scratch/text_start"
    cache.mkdir(parents=True, exist_ok=True)
    writers = embed_with(encode_captions=True)(
        pool,
        _tasks(folder, values),
        _as(DualEncoderConfig, values["model"]),
        _as(SimCse, values["text_start"]),
        cache,
    )
    for name, writer in zip(("tokens", "text_start", "embeddings"), writers, strict=True):
        with atomic_folder(folder / name) as temporary:
            writer(temporary)
    return {"num_pairs": pool.num_rows}


def embed_part(folder: Path, values: Settings, _: Method) -> Settings:
    """Tokenise every caption, start the text tower, and encode the first `num_encoded` of them."""
    pool, texts = _pool(folder), read_target_texts(_tasks(folder, values))
    config, cache = _as(DualEncoderConfig, values["model"]), folder / "scratch/text_start"
    tokenizer, num = build_tokenizer(config), values["num_encoded"]
    if not num:
        with atomic_folder(folder / "tokens") as temporary:
            fill_tokens(temporary, tokenize(pool["caption"], tokenizer))
        return {"num_pairs": pool.num_rows}
    cache.mkdir(parents=True, exist_ok=True)
    start = embed_captions(
        pool["caption"].slice(0, num),
        texts,
        config=config,
        simcse=_as(SimCse, values["text_start"]),
        tokenizer=tokenizer,
        device=torch.device("cpu"),
        cache=cache,
    )
    with atomic_folder(folder / "text_start") as temporary:
        fill_weights(temporary, module=start.model.text_tower.trunk)
    with atomic_folder(folder / "embeddings") as temporary:
        fill_embeddings(temporary, embeddings=start.embeddings, pool=pool)
    return {"num_pairs": pool.num_rows, "num_done": num}


def curate(folder: Path, values: Settings, method: Method) -> Settings:
    pool = _pool(folder)
    manifest, _, report, curve, figures = curate_with(method)(
        pool,
        folder / "embeddings",
        _pool_shards(folder, values),
        _as(method.curator, values[method.name]["curation"]),
    )
    write_table(folder / f"curated-{method.name}.parquet", manifest)
    write_json(folder / f"curation-{method.name}.json", {"report": report, "curve": curve})
    with atomic_folder(folder / f"figures-{method.name}") as temporary:
        figures(temporary)
    return {"num_pairs": pool.num_rows, "num_kept": manifest.num_rows}


def train_stage(folder: Path, values: Settings, method: Method) -> Settings:
    model, own = _as(DualEncoderConfig, values["model"]), values[method.name]
    scratch = (
        folder / f"scratch/train-{os.getpid()}"
    )  # a run that another left would be gone on with
    scratch.mkdir(parents=True)
    checkpoint, history, rounds, _, pairs, report, figures = train_with(method)(
        _pool(folder),
        folder / "tokens",
        folder / "text_start",
        folder / "embeddings",
        pq.read_table(folder / f"curated-{method.name}.parquet"),
        _pool_shards(folder, values),
        _tasks(folder, values),
        model,
        _as(Training, values["training"]),
        _as(method.curator, own["curation"]),
        _as(method.schedule, own["schedule"]),
        _as(method.objective, own["objective"]),
        scratch,
    )
    write_json(folder / f"history-{method.name}.json", [history, rounds, report])
    write_table(folder / f"trained-{method.name}.parquet", pairs)
    for name, writer in (("checkpoint", checkpoint), ("training_figures", figures)):
        with atomic_folder(folder / f"{name}-{method.name}") as temporary:
            writer(temporary)
    scanned = [r["num_scanned"] for r in rounds]
    return {"loss": history[-1]["loss_total"], "num_scanned": scanned}


def train(folder: Path, *, method: str, **settings: Any) -> Settings:
    values = parameters({"training": settings})
    return train_stage(folder, values, _method(method))


STAGES: dict[str, Callable[[Path, Settings, Method], Settings]] = {
    "ingest": ingest,
    "index_one_shard": index_one_shard,
    "screen": screen,
    "validate": validate,
    "embed": embed,
    "embed_part": embed_part,
    "curate": curate,
    "train": train_stage,
}


def run_stages(folder: Path, names: tuple[str, ...], *, method: str) -> dict[str, Settings]:
    values = parameters({})
    return {name: STAGES[name](folder, values, _method(method)) for name in names}


def _pool(folder: Path) -> pa.Table:
    return pq.read_table(folder / "pool.parquet")


def _method(name: str) -> Method:
    return next(method for method in all_methods() if method.name == name)


@dataclasses.dataclass
class Memory:
    """The most that a process held: `anonymous` is its own, the rest is mapped files."""

    anonymous: int = 0
    before: int = 0


@contextmanager
def memory_watched() -> Iterator[Memory]:
    memory = Memory(before=_status("RssAnon"))
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(POLL_SECONDS):
            memory.anonymous = max(memory.anonymous, _status("RssAnon"))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield memory
    finally:
        stop.set()
        thread.join()


def _status(name: str) -> int:
    """Bytes of a line of /proc/self/status; ru_maxrss would count the parent's memory too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def measured(work: Callable[[], Settings]) -> Settings:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with memory_watched() as memory:
        wall, cpu = time.perf_counter(), time.process_time()
        found = work()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    workers = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return found | {
        "wall_seconds": wall,
        "cpu_seconds": cpu + workers,
        "peak_bytes": _status("VmHWM"),
        "peak_anonymous_bytes": memory.anonymous,
        "bytes_before": memory.before,
        "peak_bytes_of_a_worker": 1024 * after.ru_maxrss if workers > 1 else 0,
    }


def profiled(work: Callable[[], Settings], num: int = 12) -> Settings:
    """Measure with cProfile on, and give the functions that took longest by themselves."""
    profile = cProfile.Profile()
    found = measured(lambda: profile.runcall(work))
    functions = pstats.Stats(profile).stats  # pyright: ignore[reportAttributeAccessIssue]
    top = sorted(functions.items(), key=lambda item: -item[1][2])[:num]
    return found | {
        "top": [
            {
                "function": f"{Path(file).name}:{name}" if line else name,
                "calls": calls,
                "own_seconds": round(own, 3),
                "total_seconds": round(total, 3),
            }
            for (file, line, name), (_, calls, own, total, _) in top
        ]
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--method", default="cit")
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    values, method = parameters(arguments.settings), _method(arguments.method)
    if arguments.stage == "validate":
        import great_expectations.expectations  # noqa: F401 (imports are not measured)
    if arguments.stage in ("embed", "embed_part", "train"):
        build_tokenizer(_as(DualEncoderConfig, values["model"]))  # likewise

    def work() -> Settings:
        return STAGES[arguments.stage](arguments.folder.resolve(), values, method)

    print("\n" + json.dumps((profiled if arguments.profile else measured)(work)))


if __name__ == "__main__":
    main()
