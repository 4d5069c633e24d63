"""Score every pair of a pool: does the caption say what the image shows?

The score is the cosine similarity of image and caption embedding under a dual encoder that stays
as it is (CLIPScore without its factor, arXiv 2104.08718).
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import torch
from annotated_types import Ge
from jaxtyping import Float32
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.data.chunks import made_in_chunks
from vl_pipeline.data.digest import digest_of_value
from vl_pipeline.data.paths import OptionalInput
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.tokens import Tokenizer, tokenize
from vl_pipeline.embedding.encode import TextEncoder, encode_images
from vl_pipeline.embedding.store import PairScores
from vl_pipeline.errors import CurationError, ParameterError
from vl_pipeline.models.dual_encoder import DualEncoder, digest_of_weights
from vl_pipeline.models.towers import DualEncoderConfig, build_tokenizer
from vl_pipeline.models.weights import load_model


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class PairScorer:
    """Which dual encoder scores the pairs: a checkpoint, or towers by name; and what it may cost.

    Attributes:
        checkpoint: Folder of a checkpoint that a train stage wrote.
        name: A model of open_clip or of this package, in the place of a checkpoint.
        pretrained: Its weights: a tag of open_clip, or a path.
        batch_size: Images per forward pass.
        num_threads: Threads that load images.
    """

    checkpoint: OptionalInput
    name: str | None
    pretrained: str | None
    batch_size: Annotated[int, Ge(1)]
    num_threads: Annotated[int, Ge(1)]

    def __post_init__(self) -> None:
        by_name = (self.name, self.pretrained)
        if all(by_name) is bool(self.checkpoint) or any(by_name) is bool(self.checkpoint):
            raise ParameterError(
                f"pair_scorer.checkpoint is {self.checkpoint!r}, name {self.name!r} and pretrained "
                f"{self.pretrained!r}; set either checkpoint, or name and pretrained, and the rest "
                f"to null (conf/base/parameters_pair_scorer.yml)"
            )

    def require_checkpoint(self) -> None:
        """Make sure that a checkpoint is there, if one is to score.

        Raises:
            ParameterError: If the folder holds none.
        """
        if self.checkpoint and not (Path(self.checkpoint) / "model.json").is_file():
            raise ParameterError(
                f"pair_scorer.checkpoint is '{self.checkpoint}', which holds no checkpoint; train "
                f"one (`kedro run --pipelines clip` writes data/06_models/clip), or name towers "
                f"with weights in pair_scorer.name and pair_scorer.pretrained "
                f"(conf/base/parameters_pair_scorer.yml)"
            )

    def build(self, device: torch.device) -> tuple[DualEncoder, Tokenizer]:
        """Build the scorer, in evaluation mode."""
        if self.checkpoint:
            self.require_checkpoint()
            model, config = load_model(Path(self.checkpoint), device=device)
            return model, build_tokenizer(config)
        assert self.name
        # No temperature plays a part in an embedding.
        config = DualEncoderConfig(
            name=self.name, pretrained=self.pretrained, temperature=1.0, min_temperature=1.0
        )
        return DualEncoder(config, seed=0).to(device).eval(), build_tokenizer(config)


def score_pool(
    pool: pa.Table, images: PoolImages, scorer: PairScorer, *, device: torch.device, cache: Path
) -> PairScores:
    """Score each pair of the pool, in its order.

    Scores are kept in `cache`, in files named by the scorer and by the pairs, as they are made: a
    run that was stopped goes on where it was.

    Raises:
        CurationError: If a score is not a number.
    """
    model, tokenizer = scorer.build(device)
    digest = digest_of_weights(model)

    def make(rows: range) -> np.ndarray:
        captions = pool["caption"].slice(rows.start, len(rows)).to_pylist()
        read = [images.read(row) for row in rows]
        return _cosines(model, tokenizer, read, captions, scorer, device)

    own = cache / digest_of_value([digest, device.type, scorer.batch_size])
    parts = made_in_chunks(pool["uid"].to_pylist(), make, folder=own, desc="score pairs")
    scores = np.concatenate([np.empty(0, dtype=np.float32), *parts])
    return PairScores(scores=scores, scorer_digest=digest)


def _cosines(
    model: DualEncoder,
    tokenizer: Tokenizer,
    images: list[bytes],
    captions: list[str],
    scorer: PairScorer,
    device: torch.device,
) -> Float32[np.ndarray, " n"]:
    of_images = encode_images(
        model,
        images,
        device=device,
        batch_size=scorer.batch_size,
        num_threads=scorer.num_threads,
    )
    of_captions = TextEncoder(model, device).embeddings(tokenize(captions, tokenizer))
    scores = (of_images * of_captions).sum(axis=1).clip(-1, 1)
    if np.isnan(scores).any():
        raise CurationError(
            "some pairs' scores are not numbers; the scorer's weights are damaged or diverged, "
            "name another in pair_scorer (conf/base/parameters_pair_scorer.yml)"
        )
    return scores
