"""Tokenise the captions, start the text tower, and encode captions and target texts."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa

from vl_pipeline.data.tasks import Tasks, read_target_texts
from vl_pipeline.data.tokens import fill_tokens
from vl_pipeline.datasets.folders import Writer
from vl_pipeline.embedding.store import fill_embeddings
from vl_pipeline.models.device import choose_device
from vl_pipeline.models.towers import DualEncoderConfig, build_tokenizer
from vl_pipeline.models.weights import fill_weights
from vl_pipeline.training.simcse import SimCse
from vl_pipeline.training.start import embed_captions


def embed_with(
    *, encode_captions: bool
) -> Callable[[pa.Table, Tasks, DualEncoderConfig, SimCse, Path], tuple[Writer, Writer, Writer]]:
    """Build the node; target texts are always encoded, captions where a curator reads features."""

    def embed(
        pool: pa.Table, tasks: Tasks, model: DualEncoderConfig, text_start: SimCse, cache: Path
    ) -> tuple[Writer, Writer, Writer]:
        """Give writers of the tokens, the text trunk's weights, and the embeddings."""
        start = embed_captions(
            pool["caption"],
            read_target_texts(tasks),
            target_templates=tasks.target_templates,
            config=model,
            simcse=text_start,
            tokenizer=build_tokenizer(model),
            device=choose_device(),
            cache=cache,
            encode_captions=encode_captions,
        )
        return (
            partial(fill_tokens, tokens=start.tokens),
            partial(fill_weights, module=start.model.text_tower.trunk),
            partial(fill_embeddings, embeddings=start.embeddings, pool=pool),
        )

    return embed
