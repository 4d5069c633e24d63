"""The presets of a method: parameters that its classes accept, and towers that can be built."""

from importlib.util import find_spec

import pytest
import torch
from kedro.config import OmegaConfigLoader
from pydantic import TypeAdapter

from tests.projects import ROOT
from vl_pipeline.methods.align import METHOD
from vl_pipeline.models.towers import DualEncoderConfig, build_towers
from vl_pipeline.settings import CONFIG_LOADER_ARGS
from vl_pipeline.training.loop import Training
from vl_pipeline.training.simcse import SimCse

BLOCKS = {
    "curation": METHOD.curator,
    "schedule": METHOD.schedule,
    "objective": METHOD.objective,
    "model": DualEncoderConfig,
    "text_start": SimCse,
    "training": Training,
}


def blocks_of(environment: str) -> dict:
    """What Kedro builds of `align` in an environment, by block."""
    settings = CONFIG_LOADER_ARGS | {"default_run_env": environment}
    loader = OmegaConfigLoader(conf_source=str(ROOT / "conf"), env=environment, **settings)
    parameters = loader["parameters"]["align"]
    assert parameters.keys() == BLOCKS.keys()
    return {
        name: TypeAdapter(kind).validate_python(parameters[name]) for name, kind in BLOCKS.items()
    }


@pytest.mark.parametrize(
    ("environment", "image_millions", "text_millions", "dim", "batch_size"),
    [
        ("base", 0.082, 10.4, 128, 128),
        ("align_b3_mini", 10.1, 15.8, 640, 16_384),
        ("align_paper", 467, 353, 1376, 16_384),
    ],
)
def test_a_preset_is_accepted_whole_and_its_towers_are_as_large_as_they_should_be(
    environment: str, image_millions: float, text_millions: float, dim: int, batch_size: int
) -> None:
    blocks = blocks_of(environment)
    if blocks["model"].text_encoder and find_spec("transformers") is None:
        pytest.skip("text encoders of Hugging Face need transformers")

    with torch.device("meta"):  # sizes without memory
        image_tower, text_tower, _, _ = build_towers(blocks["model"])
        embeddings = text_tower.projection(torch.zeros(1, text_tower.projection.in_features))

    millions = [
        sum(p.numel() for p in tower.trunk.parameters()) / 1e6
        for tower in (image_tower, text_tower)
    ]
    assert millions == pytest.approx([image_millions, text_millions], rel=5e-3)
    assert embeddings.shape == (1, dim)
    assert blocks["training"].batch_size == batch_size


def test_the_papers_recipe_is_the_published_one() -> None:
    blocks = blocks_of("align_paper")

    optimization = blocks["training"].optimization
    assert (optimization.optimizer, optimization.decay) == ("lamb", "linear")
    assert (optimization.learning_rate, optimization.min_learning_rate) == (1e-3, 0)
    assert (optimization.warmup_steps, blocks["training"].num_steps) == (10_000, 1_200_000)
    assert optimization.weight_decay == optimization.projection_weight_decay == 1e-5
    assert blocks["objective"].label_smoothing == 0.1
    assert (blocks["objective"].alpha, blocks["objective"].beta) == (1, 0)
    assert (blocks["model"].temperature, blocks["model"].image_resize_px) == (1, 346)
    assert blocks["text_start"].num_steps == 0
