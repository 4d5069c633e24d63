"""With pretrained weights CiT freezes the image trunk and runs each image through it once."""

import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from tests.projects import run
from vl_pipeline.models.towers import CONFIG_FOLDER
from vl_pipeline.models.weights import load_model


@pytest.fixture(scope="module")
def project(finished_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose `cit` was run with weights from a local file."""
    project = shutil.copytree(finished_project, tmp_path_factory.mktemp("pretrained") / "project")
    open_clip.add_model_config(CONFIG_FOLDER)
    torch.manual_seed(7)
    model = open_clip.create_model("resnet-tiny-64", force_custom_text=True)
    torch.save(model.state_dict(), project / "weights.pt")
    parameters = {"model": {"pretrained": str(project / "weights.pt")}}
    run(project, "cit", from_nodes=["embed"], params=parameters)
    return project


def test_the_image_trunk_keeps_its_weights_and_batch_statistics(project: Path) -> None:
    before = torch.load(project / "weights.pt", weights_only=True)

    model, _ = load_model(project / "data/06_models/cit", device=torch.device("cpu"))

    trunk = model.image_tower.trunk.state_dict()
    assert all(torch.equal(trunk[name], before[f"visual.trunk.{name}"]) for name in trunk)


def test_the_projections_and_the_text_trunk_are_trained(project: Path) -> None:
    before = torch.load(project / "weights.pt", weights_only=True)

    model, _ = load_model(project / "data/06_models/cit", device=torch.device("cpu"))

    projection = model.image_tower.projection.state_dict()
    assert not torch.equal(projection["proj.weight"], before["visual.head.proj.weight"])
    embedding = model.text_tower.trunk.state_dict()["token_embedding.weight"]
    assert not torch.equal(embedding, before["text.token_embedding.weight"])


def test_features_are_known_for_the_images_trained_on_and_no_others(project: Path) -> None:
    pool = pq.read_table(project / "data/03_primary/pool.parquet")
    pairs = pq.read_table(project / "data/05_model_input/cit/trained_pairs.parquet")
    (known,) = (project / "data/scratch/cit/image_features").rglob("known.npy")

    trained_on = pc.is_in(pool["uid"], value_set=pairs["uid"].combine_chunks()).to_numpy()

    assert (np.load(known) == trained_on).all()


def test_the_pretrained_text_trunk_is_not_started_again(project: Path) -> None:
    about = json.loads((project / "data/04_feature/embeddings/about.json").read_text())
    before = torch.load(project / "weights.pt", weights_only=True)
    started = load_start(project)

    assert torch.equal(started, before["text.token_embedding.weight"])
    assert len(about["encoder_digest"]) == 32


def load_start(project: Path) -> torch.Tensor:
    """Give the token embedding that training started from."""
    from safetensors.torch import load_file

    weights = load_file(project / "data/04_feature/text_start/weights.safetensors")
    return weights["token_embedding.weight"]


def test_features_of_images_resized_otherwise_are_computed_anew(
    project: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(project, tmp_path / "project")
    model = {"pretrained": str(project / "weights.pt"), "image_resize_px": 80}

    run(other, "cit", from_nodes=["cit.train"], params={"model": model})

    assert len(list((other / "data/scratch/cit/image_features").rglob("known.npy"))) == 2
