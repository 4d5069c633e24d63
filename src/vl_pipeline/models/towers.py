"""Which towers a model has, where their weights come from, and how they are built."""

import logging
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Gt, MinLen
from jaxtyping import Float
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters
from torch import Tensor, nn

from vl_pipeline.data.digest import digest_of_files, digest_of_value
from vl_pipeline.data.paths import OptionalInput
from vl_pipeline.data.tokens import Tokenizer
from vl_pipeline.errors import ParameterError
from vl_pipeline.models.split_towers import (
    Tower,
    split_image_tower,
    split_text_tower,
    take_head_out,
)
from vl_pipeline.models.text_encoders import (
    has_tokenizer,
    has_weights,
    pooler_of,
    require_text_encoder,
)

CONFIG_FOLDER = Path(__file__).parent / "configs"


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DualEncoderConfig:
    """Which towers, and where their weights come from.

    Attributes:
        name: A model of open_clip (`ViT-B-32`) or of this package's `models/configs`.
        pretrained: A tag of open_clip for that model, or a path to its weights (safetensors, or
            tensors alone as torch saves them), for both towers.
        image_weights: Path to weights of the image tower alone, in open_clip's or timm's names.
        text_encoder: Folder of a Hugging Face text encoder with its tokenizer, in the place of
            the model's own text tower. Its weights are used where the folder holds them.
        keep_image_head: Whether an EfficientNet keeps its last 1x1 convolution; ALIGN takes it out,
            and the projection too where the embedding has the width that is left.
        image_resize_px: Sides, in px, that an image is resized to, whatever its aspect, before a
            square of the model's size is cut out of it (ALIGN); None resizes the shorter side to
            the model's size.
        temperature: Where the learned temperature starts; the temperature where none is learned.
        min_temperature: A learned temperature is clamped to at least this after each step.
        learn_temperature: Whether the temperature is trained.
    """

    name: Annotated[str, MinLen(1)]
    pretrained: str | None
    image_weights: OptionalInput = None
    text_encoder: OptionalInput = None
    temperature: Annotated[float, Gt(0)]
    min_temperature: Annotated[float, Gt(0)]
    keep_image_head: bool = True
    image_resize_px: Annotated[int, Gt(0)] | None = None
    learn_temperature: bool = True

    def __post_init__(self) -> None:
        if self.pretrained and not self.keep_image_head:
            raise ParameterError(
                f"model.pretrained is '{self.pretrained}', whose projection reads the image "
                f"tower's head; with keep_image_head: false it has to be null"
            )
        if self.pretrained and (self.image_weights or self.text_encoder):
            raise ParameterError(
                f"model.pretrained is '{self.pretrained}', which fills both towers; with "
                f"model.image_weights or model.text_encoder it has to be null"
            )

    @property
    def has_pretrained_image(self) -> bool:
        """Whether the image trunk starts from anything but random weights."""
        return bool(self.pretrained or self.image_weights)

    @property
    def has_pretrained_text(self) -> bool:
        """Whether the text trunk starts from anything but random weights."""
        return bool(self.pretrained) or (
            self.text_encoder is not None and has_weights(Path(self.text_encoder))
        )


def build_towers(config: DualEncoderConfig) -> tuple[Tower, Tower, "ImageNormalization", int]:
    """Build an image and a text tower.

    Returns:
        The image tower, the text tower, how pixels are normalised, and the image's side in px.

    Raises:
        ParameterError: If open_clip knows no such model or weights, or a tower is of a kind
            that cannot be taken apart yet.
    """
    import open_clip

    open_clip.add_model_config(CONFIG_FOLDER)
    if config.name not in open_clip.list_models():  # asked for others, open_clip downloads
        raise ParameterError(
            f"model.name is '{config.name}'; known are open_clip's models and "
            f"{sorted(p.stem for p in CONFIG_FOLDER.glob('*.json'))}"
        )
    overrides: Any = {"text_cfg": text_encoder_config(config)} if config.text_encoder else {}
    towers = open_clip.get_model_config(config.name)
    assert towers is not None
    if "hf_model_name" in towers["text_cfg"] and not config.text_encoder:
        raise ParameterError(
            f"model.name is '{config.name}', whose text tower comes from Hugging Face's hub; name "
            f"a local folder of it in model.text_encoder"
        )
    if config.pretrained is None:
        logging.getLogger().addFilter(_without_note_on_random_weights)
    try:
        model: Any = open_clip.create_model(
            config.name,
            pretrained=config.pretrained,
            force_custom_text=True,
            weights_only=True,
            device=torch.get_default_device(),
            **overrides,
        )
        if config.image_weights:
            _load_image_weights(model.visual, Path(config.image_weights))
        if not config.keep_image_head:
            take_head_out(model.visual, embed_dim=towers["embed_dim"])
    except Exception as error:  # a file of weights may be anything, and so may its error
        raise ParameterError(
            f"model.name '{config.name}' with {_sources(config)} cannot be built: {error}; "
            f"accepted are open_clip's tags and files of this model's tensors (safetensors, or "
            f"saved by torch with nothing but tensors: nothing else is unpickled)"
        ) from error
    finally:
        logging.getLogger().removeFilter(_without_note_on_random_weights)
    side_px = model.visual.image_size
    normalization = ImageNormalization(model.visual.image_mean, model.visual.image_std)
    side = side_px if isinstance(side_px, int) else side_px[0]
    if config.image_resize_px is not None and config.image_resize_px < side:
        raise ParameterError(
            f"model.image_resize_px is {config.image_resize_px}; a square of {side} px is cut out "
            f"of the resized image for '{config.name}', which needs as much at least"
        )
    return split_image_tower(model.visual), split_text_tower(model.text), normalization, side


def _without_note_on_random_weights(record: logging.LogRecord) -> bool:
    """open_clip warns of random weights; here they are asked for."""
    return "No pretrained weights loaded" not in record.getMessage()


def _sources(config: DualEncoderConfig) -> str:
    given = _given(config).items()
    return ", ".join(f"model.{name} '{value}'" for name, value in given) or "random weights"


def _given(config: DualEncoderConfig) -> dict[str, str]:
    names = ("pretrained", "image_weights", "text_encoder")
    return {name: getattr(config, name) for name in names if getattr(config, name)}


def _load_image_weights(visual: Any, file: Path) -> None:
    """Load an image tower's weights, whole; a classifier that timm's weights bring is left out."""
    from open_clip.factory import load_state_dict
    from open_clip.timm_model import TimmModel

    weights: Any = load_state_dict(str(file), weights_only=True)
    weights = {name.removeprefix("visual."): tensor for name, tensor in weights.items()}
    if isinstance(visual, TimmModel) and not any(name.startswith("trunk.") for name in weights):
        trunk: Any = visual.trunk
        classifier = trunk.default_cfg["classifier"]
        weights = {n: t for n, t in weights.items() if not n.startswith(f"{classifier}.")}
        visual.trunk.load_state_dict(weights)
    else:
        visual.load_state_dict(weights)


def digest_of_sources(config: DualEncoderConfig) -> str:
    """Digest of the files that weights come from, by content; a tag of open_clip is its name."""
    digests: dict[str, str] = {}
    for name, value in _given(config).items():
        path = Path(value)
        files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
        digests[name] = digest_of_files(path.parent, files) if files else value
    return digest_of_value(digests)


def build_tokenizer(config: DualEncoderConfig) -> Tokenizer:
    """Build open_clip's tokenizer for a model, as a function from texts to a numpy array."""
    import open_clip
    from open_clip.tokenizer import HFTokenizer

    open_clip.add_model_config(CONFIG_FOLDER)
    if config.text_encoder and has_tokenizer(Path(config.text_encoder)):
        context = text_encoder_config(config)["context_length"]
        tokenizer: Any = HFTokenizer(config.text_encoder, context_length=context)
    else:
        tokenizer = open_clip.get_tokenizer(config.name)
    return lambda texts: tokenizer(list(texts)).numpy()


def text_encoder_config(config: DualEncoderConfig) -> dict[str, Any]:
    """Describe `config.text_encoder` as open_clip's text configuration.

    Raises:
        ParameterError: If the folder is no text encoder that can be used here.
    """
    import open_clip

    assert config.text_encoder is not None
    folder = Path(config.text_encoder)
    require_text_encoder(folder)
    own = open_clip.get_model_config(config.name) or {}
    return {
        "hf_model_name": str(folder),
        "hf_tokenizer_name": str(folder),
        "hf_model_pretrained": has_weights(folder),
        "hf_pooler_type": pooler_of(folder),
        "hf_proj_type": "linear",
        "context_length": own["text_cfg"].get("context_length", 77),
    }


class ImageNormalization(nn.Module):
    """8-bit pixels to numbers around zero, on whichever device they are."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean) * 255)
        self.register_buffer("std", torch.tensor(std) * 255)

    def forward(self, pixels: Tensor) -> Float[Tensor, "n 3 h w"]:
        """Normalise uint8 [n, h, w, 3]; the result keeps that memory order (channels last)."""
        n, height, width, channels = pixels.shape
        # A row at a time: against three numbers alone there is nothing to vectorise.
        rows = pixels.reshape(n, height, width * channels).float()
        rows.sub_(self.mean.repeat(width)).div_(self.std.repeat(width))
        return rows.view(n, height, width, channels).permute(0, 3, 1, 2)
