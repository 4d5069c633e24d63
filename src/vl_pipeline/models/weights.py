"""Weights on disk: safetensors and JSON, so that loading a model runs nobody's code."""

import dataclasses
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from vl_pipeline.errors import CheckpointError
from vl_pipeline.models.dual_encoder import DualEncoder
from vl_pipeline.models.text_encoders import copy_description
from vl_pipeline.models.towers import DualEncoderConfig

_TEXT_ENCODER = "text_encoder"


def save_weights(module: nn.Module, file: Path) -> None:
    """Save a module's parameters and persistent buffers."""
    save_file({name: t.contiguous() for name, t in module.state_dict().items()}, file)


def fill_weights(folder: Path, module: nn.Module) -> None:
    """Fill a folder with `weights.safetensors`."""
    save_weights(module, folder / "weights.safetensors")


def load_weights(module: nn.Module, file: Path) -> None:
    """Load what `save_weights` saved into a module; in place.

    Raises:
        CheckpointError: If the file is missing, is not safetensors, or does not fit the module.
    """
    try:
        weights = load_file(file)
        _require_same_shapes(module, weights)
        module.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"{file}: cannot be loaded ({error}); only safetensors of the same model are "
            f"accepted, run the stage that makes the file again"
        ) from error


def _require_same_shapes(module: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Compare before anything is copied: a module is loaded whole or left as it was."""
    wanted = {name: tensor.shape for name, tensor in module.state_dict().items()}
    found = {name: tensor.shape for name, tensor in weights.items()}
    if wanted != found:
        differing = sorted(n for n in wanted.keys() | found.keys() if wanted.get(n) != found.get(n))
        raise RuntimeError(f"{len(differing)} tensors differ, the first is {differing[0]}")


def save_model(model: DualEncoder, config: DualEncoderConfig, folder: Path) -> None:
    """Fill a folder with `weights.safetensors`, `model.json` and what a text encoder is."""
    save_weights(model, folder / "weights.safetensors")
    if config.text_encoder:
        copy_description(Path(config.text_encoder), folder / _TEXT_ENCODER)
    (folder / "model.json").write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")


def load_model(folder: Path, *, device: torch.device) -> tuple[DualEncoder, DualEncoderConfig]:
    """Load what `save_model` saved, in evaluation mode; the folder holds all that is needed.

    Raises:
        CheckpointError: If the folder does not hold a model that this version can build.
    """
    try:
        config = DualEncoderConfig(**json.loads((folder / "model.json").read_text()))
        text_encoder = str(folder / _TEXT_ENCODER) if config.text_encoder else None
        config = dataclasses.replace(
            config, pretrained=None, image_weights=None, text_encoder=text_encoder
        )
        model = DualEncoder(config, seed=0)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{folder}: no model.json that can be read and built ({error}); run the train stage "
            f"again"
        ) from error
    load_weights(model, folder / "weights.safetensors")
    return model.to(device).eval(), config
