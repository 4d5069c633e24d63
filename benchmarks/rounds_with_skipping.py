"""Rounds of CiT over a pool that is passed several times, each chosen with and without skipping.

The project's own trainer trains a tower that SimCSE started, with the parameters of `conf/base`, on
what scoring everything chose. At the beginning of each round, every setting of `skip_rescoring`
chooses too: from the same place in the pool, with the same weights, and the features it has kept of
its own earlier rounds.

No pictures are decoded. A pair's picture is a vector, as of a frozen trunk: the mean of vectors
that stand for its caption's tokens, and noise. So there is something for the text tower to learn.
"""

import dataclasses
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from parameters import parameters
from pydantic import TypeAdapter
from side_by_side import cpu_seconds, spread
from torch import Tensor

from vl_pipeline.curation.target_similarity import TargetSimilarity
from vl_pipeline.data.pool import Rows
from vl_pipeline.data.tokens import Tokens
from vl_pipeline.embedding.encode import TextEncoder
from vl_pipeline.embedding.image_source import NumberedBatch
from vl_pipeline.models.dual_encoder import DualEncoder
from vl_pipeline.objectives.contrastive import Contrastive
from vl_pipeline.training.checkpoint import CheckpointFolder
from vl_pipeline.training.curate_during_training import CurateDuringTraining
from vl_pipeline.training.forecast import LastFeatures
from vl_pipeline.training.looks import PoolLooks
from vl_pipeline.training.loop import Trainer, Training
from vl_pipeline.training.rescoring import SkipRescoring
from vl_pipeline.training.schedule import Round, RoundState, Site
from vl_pipeline.training.simcse import SimCse, train_simcse

CPU = torch.device("cpu")
WORD_WIDTH, NOISE = (
    96,
    1.0,
)  # what the default image trunk's features are wide; and beside 1 for words
SETTINGS = {
    miss_rate: SkipRescoring(miss_rate=miss_rate, sample_size=2048, audit_size=512)
    for miss_rate in (0.01, 0.005, 0.003, 0.001)
}


@dataclass(frozen=True, kw_only=True)
class Passage:
    """One round of one setting beside the round that scored everything.

    Attributes:
        starts_in: The pass over the pool in which the round begins, from 0.
        microseconds: CPU time of the whole choice (samples, targets and audit) a pair scanned.
        microseconds_of_all: The same where everything is scored.
        microseconds_released: A caption of the same pool, as `released` scores it.
        skipped: Share of the pairs scanned that was not scored.
        same: Share of what scoring everything chose that was chosen.
        missed: Share of the passes that was passed over.
        estimated: The same as the round's audit estimates it.
    """

    starts_in: int
    microseconds: float
    microseconds_of_all: float
    microseconds_released: float
    skipped: float
    same: float
    missed: float
    estimated: float


@dataclass
class Compared:
    """A schedule that trains on what scoring everything chooses, and compares others with it."""

    plan: CurateDuringTraining
    released: Callable[[], float]
    passages: dict[float, list[Passage]] = field(
        default_factory=lambda: {miss_rate: [] for miss_rate in SETTINGS}
    )

    def rounds(self, site: Site, *, resume: RoundState | None) -> Generator[Round]:
        state, kept = resume, dict.fromkeys(SETTINGS)
        while True:
            all_scored, microseconds = timed(self.plan, site, state, None)
            released = self.released()
            for miss_rate, settings in SETTINGS.items():
                plan = dataclasses.replace(self.plan, skip_rescoring=settings)
                spared, cost = timed(plan, site, state, kept[miss_rate])
                kept[miss_rate] = spared.state.last_features
                passage = compared(all_scored, spared)
                self.passages[miss_rate].append(
                    Passage(
                        starts_in=(state.position if state else 0) // site.num_pairs,
                        microseconds=cost,
                        microseconds_of_all=microseconds,
                        microseconds_released=released,
                        **passage,
                    )
                )
                index = all_scored.state.index
                print(f"round {index}, miss_rate {miss_rate}: {passage}", flush=True)
            yield all_scored
            state = all_scored.state


def timed(
    plan: CurateDuringTraining, site: Site, state: RoundState | None, kept: LastFeatures | None
) -> tuple[Round, float]:
    """Choose the round after `state`; give it and its CPU microseconds a pair scanned."""
    resume = dataclasses.replace(state, last_features=kept) if state else None
    rounds = plan.rounds(site, resume=resume)
    if resume:
        next(rounds)  # the round that is being trained, which costs nothing
    started = cpu_seconds()
    chosen = next(rounds)
    seconds = cpu_seconds() - started
    assert chosen.selection is not None
    return chosen, 1e6 * seconds / len(chosen.selection)


def compared(all_scored: Round, spared: Round) -> dict[str, float]:
    """Say how much of a choice skipping gave, of pairs that both looked at."""
    one, other = all_scored.selection, spared.selection
    assert one is not None and other is not None and one.threshold == other.threshold
    passes = one.rows[one.score > one.threshold]
    missed = np.intersect1d(passes, other.rows[np.isnan(other.score)])
    return {
        "skipped": float(spared.statistics["num_skipped"]) / len(other),
        "same": len(np.intersect1d(one.kept.rows, other.kept.rows)) / len(one.kept),
        "missed": len(missed) / len(passes),
        "estimated": float(spared.statistics["estimated_miss_rate"]),
    }


class PicturesOfWords:
    """Stands in for a frozen image trunk's features: what a caption's tokens say, and noise."""

    def __init__(self, model: DualEncoder, tokens: Tokens) -> None:
        draw = np.random.default_rng(0)
        words = draw.standard_normal((int(tokens.values.max()) + 1, WORD_WIDTH), dtype=np.float32)
        means = np.add.reduceat(words[tokens.values], tokens.offsets[:-1]) / np.sqrt(
            tokens.lengths[:, None]
        )
        noise = draw.standard_normal(means.shape, dtype=np.float32)
        self._features = torch.from_numpy((means + NOISE * noise).astype(np.float32))
        self._model = model

    def inputs(self, batches: Iterable[NumberedBatch]) -> Iterator[Tensor]:
        return (self._features[rows][None] for _, rows in batches)

    def embed(self, inputs: Tensor) -> Tensor:
        return self._model.image_tower.projection(inputs)

    def num_forwards(self, times_seen: np.ndarray) -> int:
        return 0


def run(
    model: DualEncoder,
    captions: list[str],
    tokens: Tokens,
    *,
    target_texts: list[str],
    target_tokens: Tokens,
    num_rounds: int,
    folder: Path,
    released: Callable[[], float],
) -> dict[float, list[Passage]]:
    """Start the text tower and train it for some rounds; in place. Gives each round's passages."""
    cit = parameters("cit")["cit"]
    plan = CurateDuringTraining(**cit["schedule"])
    settings = parameters("training")["training"]
    settings |= {"num_steps": num_rounds * plan.curate_every, "validate_every": 0}
    settings["checkpoint_every"] = settings["num_steps"]
    training = TypeAdapter(Training).validate_python(settings)
    start = SimCse(**parameters("model")["text_start"])
    train_simcse(model, tokens, start, device=CPU)
    model.freeze(("image_tower.trunk",))
    looks = PoolLooks(
        TextEncoder(model, CPU),
        pa.table({"caption": captions}),
        tokens,
        target_texts=target_texts,
        target_tokens=target_tokens,
    )
    before: Callable[[Rows], Any] = looks.now()
    site = Site(
        num_pairs=len(tokens),
        curator=TargetSimilarity(**cit["curation"]),
        look=looks.now,
        look_before_training=before,
        initial_targets=before(np.zeros(0, dtype=np.int64)).target_features,
        curated=np.zeros(0, dtype=np.int64),
        batch_size=training.batch_size,
        seed=training.seed,
    )
    compared_rounds = Compared(plan, released)
    objective = Contrastive(**cit["objective"]).build(model, seed=training.seed)
    source = PicturesOfWords(model, tokens)
    trainer = Trainer(model, objective, source, tokens, training, device=CPU)
    trainer.run(
        compared_rounds, site, CheckpointFolder(folder / "checkpoints"), on_round=lambda _: None
    )
    return compared_rounds.passages


def summary(passages: list[Passage]) -> dict[str, Any]:
    """Spread over the rounds that begin in the second pass or later, and every round."""
    later = [p for p in passages if p.starts_in > 0]
    return {
        "num_rounds": len(later),
        "microseconds": spread([p.microseconds for p in later], 1),
        "over_released": spread([p.microseconds_released / p.microseconds for p in later], 2),
        "over_all": spread([p.microseconds_of_all / p.microseconds for p in later], 2),
        **{
            name: spread([100 * getattr(p, name) for p in later], 2)
            for name in ("skipped", "same", "missed", "estimated")
        },
        "every_round": [dataclasses.asdict(p) for p in passages],
    }
