"""The text trunk that scores captions before any training, and what it says of them."""

import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from vl_pipeline.data.atomic import atomic_folder
from vl_pipeline.data.digest import digest_of_bytes, digest_of_code, digest_of_value
from vl_pipeline.data.tasks import PLACEHOLDER
from vl_pipeline.data.tokens import Tokenizer, Tokens, tokenize
from vl_pipeline.embedding.encode import TextEncoder
from vl_pipeline.embedding.prompts import mean_of_prompts, prompts
from vl_pipeline.embedding.store import Embeddings
from vl_pipeline.models.dual_encoder import DualEncoder, digest_of_weights
from vl_pipeline.models.towers import DualEncoderConfig, digest_of_sources
from vl_pipeline.models.weights import load_weights, save_weights
from vl_pipeline.training.simcse import SimCse, train_simcse

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Start:
    """Everything the embed stage makes.

    Attributes:
        model: Holds the started text trunk.
        tokens: The pool's captions.
        embeddings: Features of captions and target texts under that trunk.
    """

    model: DualEncoder
    tokens: Tokens
    embeddings: Embeddings


def embed_captions(
    captions: Sequence[str] | pa.ChunkedArray,
    target_texts: list[str],
    *,
    target_templates: tuple[str, ...] = (PLACEHOLDER,),
    config: DualEncoderConfig,
    simcse: SimCse,
    tokenizer: Tokenizer,
    device: torch.device,
    cache: Path,
    encode_captions: bool = True,
) -> Start:
    """Tokenise captions, start the text trunk, and encode captions and target texts with it.

    Captions are encoded unless `encode_captions` says that nobody will ask for their features.

    A pretrained trunk is taken as it is. Any other is trained with SimCSE on the captions; the
    result is kept in `cache` under a digest of everything it depends on, and not trained twice.
    """
    tokens = tokenize(captions, tokenizer)
    model = DualEncoder(config, seed=simcse.seed).to(device)
    if not config.has_pretrained_text and simcse.num_steps:
        _start_trunk(model, tokens, config, simcse, device=device, cache=cache)
    encoder = TextEncoder(model, device)
    features = None
    if encode_captions:
        features = encoder.features(tokens, progress="embed", dtype=np.float16)
    return Start(
        model=model,
        tokens=tokens,
        embeddings=Embeddings(
            captions=features,
            targets=mean_of_prompts(
                encoder.features(tokenize(prompts(target_texts, target_templates), tokenizer)),
                num_classes=len(target_texts),
            ),
            target_texts=target_texts,
            target_templates=target_templates,
            encoder_digest=digest_of_weights(model.text_tower.trunk),
        ),
    )


def _start_trunk(
    model: DualEncoder,
    tokens: Tokens,
    config: DualEncoderConfig,
    simcse: SimCse,
    *,
    device: torch.device,
    cache: Path,
) -> None:
    identity = {
        "model": dataclasses.asdict(config),
        "weights_files": digest_of_sources(config),
        "simcse": dataclasses.asdict(simcse),
        "tokens": digest_of_bytes(tokens.values.tobytes(), tokens.offsets.tobytes()),
        "code": digest_of_code(),
        "device": device.type,
    }
    folder = cache / digest_of_value(identity)
    trunk = model.text_tower.trunk
    if folder.exists():
        logger.info("text trunk: found a start for these captions in %s", folder)
        load_weights(trunk, folder / "weights.safetensors")
        return
    losses = train_simcse(model, tokens, simcse, device=device)
    with atomic_folder(folder) as temporary:
        save_weights(trunk, temporary / "weights.safetensors")
        (temporary / "identity.json").write_text(json.dumps(identity | {"losses": losses}))
