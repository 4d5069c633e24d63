"""Text encoders in Hugging Face's folder layout, from a local folder and never from a hub."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from vl_pipeline.errors import ParameterError

_WEIGHTS = "model.safetensors"
_POOLING = "1_Pooling/config.json"  # as sentence-transformers writes it
_POOLERS = {
    "pooling_mode_mean_tokens": "mean_pooler",
    "pooling_mode_cls_token": "cls_last_hidden_state_pooler",  # without BERT's tanh layer
}
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model")
_TOKENS_OF_CLIP = 49_408
_DESCRIPTION = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    _POOLING,
)


def has_weights(folder: Path) -> bool:
    """Say whether the folder holds weights that load without running anyone's code."""
    return (folder / _WEIGHTS).is_file()


def has_tokenizer(folder: Path) -> bool:
    """Say whether the folder holds a tokenizer; an encoder without one reads CLIP's tokens."""
    return any((folder / name).is_file() for name in _VOCABULARIES)


def require_text_encoder(folder: Path) -> None:
    """Check that a folder holds a text encoder whose captions can be stored without padding.

    Raises:
        ParameterError: If transformers is not installed, the folder has no configuration, the
            encoder pads with anything but 0, or it has neither a tokenizer nor room for CLIP's
            tokens.
    """
    if find_spec("transformers") is None:
        raise ParameterError(
            "model.text_encoder needs the package transformers; install the extra `hf`"
        )
    config = _read(folder / "config.json")
    if not has_tokenizer(folder) and config.get("vocab_size", 0) < _TOKENS_OF_CLIP:
        raise ParameterError(
            f"model.text_encoder is '{folder}', which holds no tokenizer (such as "
            f"tokenizer.json) and whose vocab_size is {config.get('vocab_size')}; without a "
            f"tokenizer it reads CLIP's {_TOKENS_OF_CLIP} tokens"
        )
    pads_with = config.get("pad_token_id")
    if pads_with != 0:
        raise ParameterError(
            f"model.text_encoder is '{folder}', which pads with token {pads_with}; stored captions "
            f"end where zeros begin, so only encoders that pad with 0 (as BERT's do) can be used"
        )


def pooler_of(folder: Path) -> str | None:
    """Name open_clip's pooler for the folder's, where sentence-transformers says which; or None."""
    if not (folder / _POOLING).is_file():
        return None
    pooling = _read(folder / _POOLING)
    modes = [mode for mode, is_on in pooling.items() if mode.startswith("pooling_mode") and is_on]
    if len(modes) != 1 or modes[0] not in _POOLERS:
        raise ParameterError(
            f"{folder / _POOLING} asks for {modes}; known are {sorted(_POOLERS)}, one at a time"
        )
    return _POOLERS[modes[0]]


def copy_description(folder: Path, target: Path) -> None:
    """Copy what a text encoder is, without its weights: enough to build it and its tokenizer."""
    for name in _DESCRIPTION:
        if (folder / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, target / name)


def set_dropout(module: nn.Module, chance: float) -> None:
    """Set the chance of every dropout in `module`; in place."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = chance


@contextmanager
def dropout_of(module: nn.Module, chance: float) -> Iterator[None]:
    """Drop with this chance for a while, and not at all afterwards."""
    set_dropout(module, chance)
    try:
        yield
    finally:
        set_dropout(module, 0.0)


def _read(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ParameterError(
            f"{file}: not readable ({error}); model.text_encoder is the folder of a Hugging Face "
            f"text encoder, with config.json and a tokenizer"
        ) from error
