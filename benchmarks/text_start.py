"""What CiT would keep before training, by where its text tower starts: random, SimCSE, pretrained.

    python benchmarks/text_start.py --pool FOLDER --tasks FOLDER --task NAME [--task NAME]
        --truth FILE --text-encoder FOLDER [--keep 0.15]

The pool goes through ingest, screen and validate once. Then each start encodes captions and target
texts, and CiT's rule keeps the same share of the pool. Precision and recall are by the truth, which
nothing else here reads: of pairs whose image shows a class of the task and whose caption matches
it, and of captions that say so, whatever the image shows. Nothing is trained but SimCSE.
"""

import argparse
import dataclasses
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
from cells import POOL, PROJECT, parameters_for, pool_parser, run
from kedro.framework.startup import bootstrap_project
from known_truth import right_uids
from parameters import parameters

from vl_pipeline.curation.offline import curate_offline
from vl_pipeline.curation.target_similarity import TargetSimilarity
from vl_pipeline.data.tasks import Tasks, read_target_texts
from vl_pipeline.models.device import choose_device
from vl_pipeline.models.towers import DualEncoderConfig, build_tokenizer
from vl_pipeline.training.simcse import SimCse
from vl_pipeline.training.start import embed_captions


def main() -> None:
    arguments = parse_arguments()
    prepare_pool(arguments)
    with TemporaryDirectory() as cache:  # SimCSE knows no task and is trained once
        print_table(arguments, Path(cache))


def print_table(arguments: argparse.Namespace, cache: Path) -> None:
    pool = pq.read_table(POOL)
    values = parameters("model")
    model, simcse = DualEncoderConfig(**values["model"]), SimCse(**values["text_start"])
    rule = TargetSimilarity(**parameters("cit")["cit"]["curation"])
    rule = dataclasses.replace(rule, threshold=1 - arguments.keep, threshold_mode="quantile")
    starts = {
        "random weights": (model, dataclasses.replace(simcse, num_steps=0)),
        "SimCSE": (model, simcse),
        arguments.text_encoder.resolve().parent.name: (
            dataclasses.replace(model, text_encoder=str(arguments.text_encoder.resolve())),
            simcse,
        ),
    }
    print("| task | text tower starts from | kept | precision % (pairs) | recall % (pairs) | "
          "precision % (captions) | recall % (captions) | seconds |")  # fmt: skip
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for task in arguments.task:
        tasks = Tasks(folder=str(arguments.tasks), curate_for=(task,), evaluate_on=(task,))
        for name, (config, start) in starts.items():
            began = time.monotonic()
            kept = kept_by(rule, pool, tasks, config, start, cache)
            seconds = time.monotonic() - began
            shares = [
                f"{100 * share:.1f}"
                for known in ("pairs", "captions")
                for share in against(pool, kept, right_uids(pool, arguments.truth, task, known))
            ]
            print(f"| {task} | {name} | {kept.sum():,} | {' | '.join(shares)} | {seconds:.0f} |")


def parse_arguments() -> argparse.Namespace:
    parser = pool_parser(__doc__)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--text-encoder", type=Path, required=True, help="Hugging Face folder")
    parser.add_argument("--keep", type=float, default=0.15, help="share of the pool")
    return parser.parse_args()


def prepare_pool(arguments: argparse.Namespace) -> None:
    """Index, screen and validate the pool, against the images of all tasks at once."""
    bootstrap_project(PROJECT)
    tasks = arguments.task
    for stage in ("ingest", "screen", "validate"):
        run(stage, parameters_for(arguments, curate_for=tasks, evaluate_on=tasks))


def kept_by(rule, pool, tasks, config, simcse, cache: Path) -> np.ndarray:  # noqa: ANN001
    """Say of each pair whether the rule keeps it under one start of the text tower."""
    start = embed_captions(
        pool["caption"].to_pylist(),
        read_target_texts(tasks),
        target_templates=tasks.target_templates,
        config=config,
        simcse=simcse,
        tokenizer=build_tokenizer(config),
        device=choose_device(),
        cache=cache,
    )
    return curate_offline(rule, pool, start.embeddings).keep


def against(pool, kept: np.ndarray, right: set[str]) -> tuple[float, float]:  # noqa: ANN001
    """Precision and recall of the kept pairs."""
    wanted = np.array([uid in right for uid in pool["uid"].to_pylist()])
    return float(wanted[kept].mean()), float(kept[wanted].mean())


if __name__ == "__main__":
    main()
