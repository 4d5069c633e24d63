"""Put a method's parts together and train them."""

import dataclasses
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from vl_pipeline import __version__
from vl_pipeline.curation.manifest import count_hits, digest_of_manifest
from vl_pipeline.curation.selection import Curator, look_before_training
from vl_pipeline.data.digest import digest_of_code, digest_of_value
from vl_pipeline.data.loader import ViewLoader
from vl_pipeline.data.pool import PoolImages, digest_of_pool, rows_of_uids
from vl_pipeline.data.tokens import tokenize
from vl_pipeline.embedding.encode import TextEncoder
from vl_pipeline.embedding.image_source import FreshViews, FrozenFeatures, ImageSource
from vl_pipeline.embedding.prompts import prompts
from vl_pipeline.errors import ParameterError
from vl_pipeline.models.dual_encoder import DualEncoder, digest_of_weights
from vl_pipeline.models.towers import DualEncoderConfig
from vl_pipeline.models.weights import load_weights, save_model
from vl_pipeline.objectives.objective import Needs, ObjectiveRecipe
from vl_pipeline.training.checkpoint import CheckpointFolder, Progress
from vl_pipeline.training.data import TrainingData
from vl_pipeline.training.looks import PoolLooks
from vl_pipeline.training.loop import Trainer, Training, Validate
from vl_pipeline.training.rounds import of_last_round, read_rounds, trained_on, write_round
from vl_pipeline.training.schedule import Schedule, Site

logger = logging.getLogger(__name__)

COST_ONLY = ("num_threads", "checkpoint_every")
"""Fields of `Training` that change no result."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A method with its numbers filled in.

    Attributes:
        name: The method's.
        curator: Which pairs.
        schedule: When.
        objective: What is optimised.
        frozen: Parts that are not trained where they are pretrained.
        model: Which towers.
        training: How long and on what.
    """

    name: str
    curator: Curator
    schedule: Schedule
    objective: ObjectiveRecipe
    frozen: tuple[str, ...]
    model: DualEncoderConfig
    training: Training


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What training made.

    Attributes:
        model: The dual encoder after the last step.
        progress: History and rounds.
        pairs: Manifest of the pairs trained on, by round, with how often each was seen in all.
        last_hits: Hits per target text in the last round; None where none was curated.
        lineage: What the weights come from, as digests and parameters.
        scratch: Where its checkpoints and rounds lie; of no use once all of this is saved.
        image_forwards: Images that had to pass the image trunk for the steps of this run.
    """

    model: DualEncoder
    progress: Progress
    pairs: pa.Table
    last_hits: np.ndarray | None
    lineage: dict[str, Any]
    scratch: Path
    image_forwards: int


def train_recipe(
    data: TrainingData,
    recipe: Recipe,
    *,
    device: torch.device,
    scratch: Path,
    validate: Validate | None = None,
    validated: dict[str, str] | None = None,
) -> Trained:
    """Train a recipe from its start, or from where an interrupted run of it left off.

    Args:
        data: What the stages before made.
        recipe: What to train.
        device: Where.
        scratch: Folder for checkpoints and rounds, in a sub-folder per run: nothing another
            configuration left there is touched.
        validate: Measures the model every `training.validate_every` steps.
        validated: What it measures on, as `digests_of_validated` gives it: a run whose validations
            were measured on something else is another run.
    """
    model = _build_model(data, recipe)
    lineage = _lineage(data, recipe, model, device)
    objective = recipe.objective.build(model, seed=recipe.training.seed)
    source = _image_source(model, data, recipe, objective.needs, device=device, scratch=scratch)
    trainer = Trainer(
        model,
        objective,
        source,
        data.tokens,
        recipe.training,
        device=device,
    )
    own = scratch / _fingerprint(lineage | ({"validated": validated} if validate else {}))
    progress = trainer.run(
        recipe.schedule,
        _site(model, data, recipe, device),
        CheckpointFolder(own / "checkpoints"),
        on_round=lambda round_: write_round(
            own, round_, pool=data.pool, target_texts=data.embeddings.target_texts
        ),
        validate=validate,
    )
    chosen = read_rounds(own, progress) if progress.rounds else data.curated
    pairs = trained_on(chosen, data.pool, progress)
    lineage |= {
        "trained_pairs_digest": digest_of_manifest(pairs),
        "weights_digest": digest_of_weights(model),
    }
    return Trained(
        model=model,
        progress=progress,
        pairs=pairs,
        last_hits=count_hits(of_last_round(pairs), data.embeddings.target_texts)
        if progress.rounds
        else None,
        lineage=lineage,
        scratch=own,
        image_forwards=source.num_forwards(progress.times_seen),
    )


def write_checkpoint(folder: Path, trained: Trained, config: DualEncoderConfig) -> None:
    """Fill a folder with the model and `lineage.json`."""
    save_model(trained.model, config, folder)
    (folder / "lineage.json").write_text(json.dumps(trained.lineage, indent=2, default=str) + "\n")


def _build_model(data: TrainingData, recipe: Recipe) -> DualEncoder:
    model = DualEncoder(recipe.model, seed=recipe.training.seed)
    load_weights(model.text_tower.trunk, data.text_start / "weights.safetensors")
    if recipe.frozen and not recipe.model.has_pretrained_image:
        logger.info("%s trains: its weights are not pretrained", ", ".join(recipe.frozen))
    elif recipe.frozen:
        model.freeze(recipe.frozen)
    return model


def _image_source(
    model: DualEncoder,
    data: TrainingData,
    recipe: Recipe,
    needs: Needs,
    *,
    device: torch.device,
    scratch: Path,
) -> ImageSource:
    training = recipe.training
    images = PoolImages(data.pool, data.folder)
    if not any(p.requires_grad for p in model.image_tower.trunk.parameters()):
        if needs.image_views > 1:
            raise ParameterError(
                f"{recipe.name}: its objective wants {needs.image_views} views of "
                f"an image, but a frozen trunk's features are computed once, of one view; train "
                f"the trunk (model.pretrained and model.image_weights: null), or take the term out"
            )
        identity = {
            "trunk": digest_of_weights(model.image_tower.trunk),
            "pool": digest_of_pool(data.pool),
            "device": device.type,
            "batch_size": training.batch_size,
            "resize_px": model.image_resize_px,
            "code": digest_of_code(),
        }
        return FrozenFeatures(
            model,
            images,
            folder=scratch / "image_features" / digest_of_value(identity),
            device=device,
            batch_size=training.batch_size,
            num_threads=training.num_threads,
        )
    loader = ViewLoader(
        images,
        training.views,
        side_px=model.image_size_px,
        num_views=needs.image_views,
        seed=training.seed,
        resize_px=model.image_resize_px,
    )
    return FreshViews(model, loader, device=device, num_threads=training.num_threads)


def _site(model: DualEncoder, data: TrainingData, recipe: Recipe, device: torch.device) -> Site:
    target_texts = data.embeddings.target_texts
    looks = PoolLooks(
        TextEncoder(model, device),
        data.pool,
        data.tokens,
        target_texts=target_texts,
        target_tokens=tokenize(
            prompts(target_texts, data.embeddings.target_templates), data.tokenizer
        ),
        pair_scores=data.pair_scores,
    )
    return Site(
        num_pairs=data.pool.num_rows,
        curator=recipe.curator,
        look=looks.now,
        look_before_training=look_before_training(data.pool, data.embeddings, data.pair_scores),
        initial_targets=data.embeddings.targets,
        curated=rows_of_uids(data.pool, data.curated["uid"]),
        batch_size=recipe.training.batch_size,
        seed=recipe.training.seed,
        weights=looks.weights,
        look_at=looks.at,
        num_encoded=looks.num_encoded,
    )


def _lineage(
    data: TrainingData, recipe: Recipe, model: DualEncoder, device: torch.device
) -> dict[str, Any]:
    """Say what a training starts from; `model` has not been trained yet."""
    parts = ("curator", "schedule", "objective", "model", "training")
    scorer = data.pair_scores.scorer_digest if data.pair_scores else None
    return {
        "method": recipe.name,
        "version": __version__,
        "code_digest": digest_of_code(),
        "device": device.type,
        "pool_digest": digest_of_pool(data.pool),
        "curated_pairs_digest": digest_of_manifest(data.curated),
        "text_start_digest": data.embeddings.encoder_digest,
        "initial_weights_digest": digest_of_weights(model),
        "target_texts": data.embeddings.target_texts,
        **({"pair_scorer_digest": scorer} if scorer else {}),
        "target_templates": data.embeddings.target_templates,
        **{part: dataclasses.asdict(getattr(recipe, part)) for part in parts},
    }


def _fingerprint(lineage: dict[str, Any]) -> str:
    """Digest everything that a result depends on; how it is computed may change in between."""
    training = {n: v for n, v in lineage["training"].items() if n not in COST_ONLY}
    return digest_of_value(lineage | {"training": training})
