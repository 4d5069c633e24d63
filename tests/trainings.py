"""Whole trainings that take a second, for tests of what is around the training loop."""

import dataclasses
from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

from tests.fakes import model_config, write_pool_shard
from tests.training.test_loop import training
from vl_pipeline.curation.keep_all import KeepAll
from vl_pipeline.curation.manifest import manifest_of
from vl_pipeline.curation.offline import curate_offline
from vl_pipeline.models.towers import CONFIG_FOLDER, DualEncoderConfig, build_tokenizer
from vl_pipeline.models.weights import save_weights
from vl_pipeline.objectives.contrastive import Contrastive
from vl_pipeline.training.data import TrainingData
from vl_pipeline.training.run import Recipe
from vl_pipeline.training.schedule import EpochsOverCuratedSet
from vl_pipeline.training.simcse import SimCse
from vl_pipeline.training.start import embed_captions

CPU = torch.device("cpu")
NUM_PAIRS = 16
_NAME = "resnet-tiny-64"


def config_with_weights(file: Path) -> DualEncoderConfig:
    """A small dual encoder whose image tower comes from a file."""
    return dataclasses.replace(model_config(_NAME), image_weights=str(file))


def write_image_weights(file: Path, *, seed: int) -> None:
    """Write weights for the image tower of `config_with_weights`."""
    open_clip.add_model_config(CONFIG_FOLDER)
    torch.manual_seed(seed)
    visual = open_clip.create_model(_NAME).visual
    save_file({name: t.contiguous() for name, t in visual.state_dict().items()}, file)


def training_data(folder: Path, config: DualEncoderConfig) -> TrainingData:
    """Write a pool with pictures, start the text trunk at random weights, and keep every pair."""
    captions = [f"caption {n}" for n in range(NUM_PAIRS)]
    pool = write_pool_shard(folder / "0.tar", captions)
    tokenizer = build_tokenizer(config)
    start = embed_captions(
        captions,
        ["cat", "dog"],
        config=config,
        simcse=SimCse(
            num_steps=0, batch_size=4, learning_rate=1e-3, temperature=0.2, dropout=0.1, seed=0
        ),
        tokenizer=tokenizer,
        device=CPU,
        cache=folder / "text_starts",
    )
    text_start = folder / "text_start"
    text_start.mkdir()
    save_weights(start.model.text_tower.trunk, text_start / "weights.safetensors")
    selection = curate_offline(KeepAll(), pool, start.embeddings)
    return TrainingData(
        pool=pool,
        folder=folder,
        tokens=start.tokens,
        tokenizer=tokenizer,
        embeddings=start.embeddings,
        text_start=text_start,
        curated=manifest_of(selection, pool=pool, target_texts=["cat", "dog"], round_index=0),
    )


def recipe_of(config: DualEncoderConfig, **settings) -> Recipe:
    """Train on all pairs with a frozen image trunk; `settings` are those of `training`."""
    return Recipe(
        name="offline",
        curator=KeepAll(),
        schedule=EpochsOverCuratedSet(),
        objective=Contrastive(loss="image_to_text"),
        frozen=("image_tower.trunk",),
        model=config,
        training=training(**{"num_steps": 3} | settings),
    )
