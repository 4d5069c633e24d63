"""Resources that are dear to make, made once."""

import copy
import json
from pathlib import Path

import open_clip
import pytest
from hypothesis import settings

from tests import fakes
from vl_pipeline.models.dual_encoder import DualEncoder

settings.register_profile("untimed", deadline=None)  # how fast a test runs says nothing here
settings.load_profile("untimed")

SHARED_DATA = Path(__file__).parents[1] / "../shared/data"

_TEXT = {"context_length": 12, "vocab_size": 100, "width": 32, "heads": 2, "layers": 2}
_VISION = {"image_size": 16, "patch_size": 8, "width": 32, "head_width": 16, "layers": 2}
_CONFIGS = {
    "vit-fake-16": {"embed_dim": 24, "vision_cfg": _VISION, "text_cfg": _TEXT},
    "vit-fake-16-noncausal": {
        "embed_dim": 24,
        "vision_cfg": _VISION,
        "text_cfg": _TEXT | {"no_causal_mask": True},
    },
}


@pytest.fixture(scope="session")
def fake_vit_name(tmp_path_factory) -> str:
    """Name of an open_clip model with a tiny ViT, 100 words and no batch norm."""
    folder = tmp_path_factory.mktemp("configs")
    for name, config in _CONFIGS.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    return "vit-fake-16"


@pytest.fixture(scope="session")
def _fake_vit(fake_vit_name) -> DualEncoder:
    return fakes.build_model(fake_vit_name)


@pytest.fixture
def fake_vit(_fake_vit) -> DualEncoder:
    """A fresh copy of a 50 thousand parameter dual encoder without batch norm."""
    return copy.deepcopy(_fake_vit)


@pytest.fixture(scope="session")
def _resnet() -> DualEncoder:
    return fakes.build_model("resnet-tiny-64")


@pytest.fixture
def resnet(_resnet) -> DualEncoder:
    """A fresh copy of the package's smallest dual encoder, whose image trunk has batch norms."""
    return copy.deepcopy(_resnet)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository; skips where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data to test on: {SHARED_DATA} does not exist")
    return SHARED_DATA
