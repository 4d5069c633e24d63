"""What a training did, as numbers and as figures."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from vl_pipeline.curation.figures import draw_hits_per_target
from vl_pipeline.curation.manifest import count_hits
from vl_pipeline.training.data import TrainingData
from vl_pipeline.training.figures import draw_training_curves, draw_validation
from vl_pipeline.training.run import Trained


def training_report(trained: Trained, data: TrainingData) -> dict[str, Any]:
    """Describe a training: its length, its last losses, and how many pairs it met."""
    last = trained.progress.history[-1]
    rounds = trained.progress.rounds
    num_images_seen = int(trained.progress.times_seen.sum())
    encoded = [int(r["captions_encoded"]) for r in rounds if "captions_encoded" in r]
    shares = [float(record["keep_fraction"]) for record in rounds]
    return {
        "pairs_seen": last["pairs_seen"],
        "num_steps": last["step"],
        "num_unique_pairs": len(pc.unique(trained.pairs["uid"])),
        "unique_fraction": len(pc.unique(trained.pairs["uid"])) / data.pool.num_rows,
        "num_rounds": len(rounds),
        "num_scanned": sum(int(record["num_scanned"]) for record in rounds),
        **({"captions_encoded": sum(encoded)} if encoded else {}),
        "image_forwards": trained.image_forwards,
        "image_forwards_saved": max(0, num_images_seen - trained.image_forwards),
        **({"mean_keep_fraction": float(np.mean(shares))} if shares else {}),
        **{name: value for name, value in last.items() if name.startswith("loss_")},
        "temperature": last["temperature"],
        "trained_pairs_digest": trained.lineage["trained_pairs_digest"],
        "weights_digest": trained.lineage["weights_digest"],
    }


def draw_training(folder: Path, trained: Trained, data: TrainingData) -> None:
    """Fill a folder with the training curves and, for methods that curate, the hits."""
    draw_training_curves(
        trained.progress.history, trained.progress.rounds, folder / "training_curves.png"
    )
    if trained.progress.validation:
        draw_validation(trained.progress.validation, folder / "validation.png")
    if trained.last_hits is not None:
        texts = data.embeddings.target_texts
        before = count_hits(data.curated, texts)
        draw_hits_per_target(before, trained.last_hits, texts, folder / "hits_per_target.png")
