"""One answer for all: a rule keeps the same pairs before training, in the loader and in rounds."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes import pool_table, sign_vectors
from vl_pipeline.curation.balanced_keywords import BalancedKeywords
from vl_pipeline.curation.image_text_agreement import ImageTextAgreement
from vl_pipeline.curation.intersection import Intersection
from vl_pipeline.curation.keep_all import KeepAll
from vl_pipeline.curation.named_in_caption import NamedInCaption
from vl_pipeline.curation.offline import curate_offline
from vl_pipeline.curation.random_subset import RandomSubset
from vl_pipeline.curation.selection import look_before_training
from vl_pipeline.curation.target_similarity import TargetSimilarity, ThresholdMode
from vl_pipeline.embedding.store import Embeddings, PairScores
from vl_pipeline.training.curate_during_training import CurateDuringTraining
from vl_pipeline.training.curate_while_loading import CurateWhileLoading
from vl_pipeline.training.schedule import Site

TEXTS = ["apple", "pear", "plum"]
TARGETS = sign_vectors([0, 0xFF, 0xF0F])
# Without relaxation, which keeps the best of a block: that answer depends on the blocks by design.
CLOSE = TargetSimilarity(
    threshold=0.5, threshold_mode=ThresholdMode.QUANTILE, min_keep_fraction=0.0, block_size=7
)
AGREES = ImageTextAgreement(keep_fraction=0.6)
RULES = {
    "all": KeepAll(),
    "random": RandomSubset(keep_fraction=0.5, seed=1),
    "named": NamedInCaption(),
    "balanced": BalancedKeywords(max_per_text=3, seed=1),
    "similarity": CLOSE,
    "capped similarity": dataclasses.replace(CLOSE, max_per_text=3, seed=1),
    "agreement": AGREES,
    "similarity and agreement": Intersection(first=CLOSE, second=AGREES),
    "named and agreement": Intersection(first=NamedInCaption(), second=AGREES),
    "two intersections": Intersection(
        first=Intersection(first=CLOSE, second=AGREES),
        second=RandomSubset(keep_fraction=0.7, seed=2),
    ),
}
PAIRS = st.lists(
    st.tuples(st.integers(0, 2**16 - 1), st.integers(-8, 8), st.sampled_from([*TEXTS, "stone"])),
    min_size=8,
    max_size=40,
)


def world_of(pairs) -> tuple[pa.Table, Embeddings, PairScores]:
    """A pool, and what an encoder and a scorer that never change say of it."""
    numbers, scores, words = zip(*pairs, strict=True)
    pool = pool_table(len(pairs), caption=[f"a {w}, number {n}" for n, w in enumerate(words)])
    embeddings = Embeddings(
        captions=sign_vectors(numbers), targets=TARGETS, target_texts=TEXTS, encoder_digest=""
    )
    known = np.array(scores, dtype=np.float32) / 8
    return pool, embeddings, PairScores(scores=known, scorer_digest="")


def site_of(pairs, rule, *, seed: int) -> Site:
    """Batches of one pair, so that none is left out."""
    look = look_before_training(*world_of(pairs))
    return Site(
        num_pairs=len(pairs),
        curator=rule,
        look=lambda: look,
        look_before_training=look,
        initial_targets=TARGETS,
        curated=np.arange(0),
        batch_size=1,
        seed=seed,
    )


def kept_before_training(pairs, rule) -> dict[int, str]:
    return reasons_of(curate_offline(rule, *world_of(pairs)))


def reasons_of(selection) -> dict[int, str]:
    kept = selection.kept
    return {int(row): kept.reasons[r] for row, r in zip(kept.rows, kept.reason, strict=True)}


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=40, deadline=None)
@given(pairs=PAIRS, seed=st.integers(0, 3), steps=st.integers(1, 9))
def test_a_rule_keeps_the_same_pairs_for_the_same_reasons_wherever_it_is_asked(
    name, pairs, seed, steps
):
    place = site_of(pairs, RULES[name], seed=seed)
    expected = kept_before_training(pairs, RULES[name])
    # Calibrated on the whole pool everywhere: a sample settles another threshold by design.
    everything = {"calibration_size": len(pairs)}

    if expected:  # rounds of nothing are an error
        one_round = CurateDuringTraining(
            curate_every=len(pairs) + 1, max_scan=len(pairs), **everything
        )
        during = next(one_round.rounds(place, resume=None))
        assert expected == reasons_of(during.selection)

        in_loader: dict[int, str] = {}
        for filled in CurateWhileLoading(fill_steps=steps, **everything).rounds(place, resume=None):
            in_loader |= reasons_of(filled.selection)
            if filled.state.position >= len(pairs):
                break
        first_pass = {row: in_loader[row] for row in in_loader if row in expected}
        assert expected == first_pass == in_loader


@pytest.mark.parametrize("name", RULES)
def test_the_rules_keep_some_and_drop_some(name):
    draw = np.random.default_rng(0)
    pairs = [
        (int(draw.integers(2**16)), int(draw.integers(-8, 9)), [*TEXTS, "stone"][n % 4])
        for n in range(40)
    ]

    kept = kept_before_training(pairs, RULES[name])

    assert 0 < len(kept) <= 40
    assert (len(kept) == 40) == (name == "all")


def test_relaxation_is_the_answer_that_depends_on_blocks():
    rule = dataclasses.replace(CLOSE, threshold=1.0, min_keep_fraction=0.5, block_size=4)
    pairs = [(n, 0, "stone") for n in (0, 0, 0, 0, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF)]
    place = site_of(pairs, rule, seed=0)

    round_ = next(
        CurateDuringTraining(curate_every=9, max_scan=8, calibration_size=8).rounds(
            place, resume=None
        )
    )

    assert {0, 1, 4, 5} == kept_before_training(pairs, rule).keys()
    assert reasons_of(round_.selection).keys() != {0, 1, 4, 5}
