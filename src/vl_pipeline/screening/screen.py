"""Screening as a whole: blocked pairs, leaks and duplicates, in this order.

A rule sees what the rules before it left, so each pair is charged once, and a pair that is not
wanted is never the reason why another one goes.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from vl_pipeline.data.ledger import LEDGER_SCHEMA, require_balance
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.tasks import Tasks
from vl_pipeline.screening import duplicates, leaks
from vl_pipeline.screening.block_list import blocked
from vl_pipeline.screening.evaluation_images import EvaluationImages, TaskImages
from vl_pipeline.screening.evidence import EVIDENCE_SCHEMA, draw_evidence, draw_repeated
from vl_pipeline.screening.finding import Finding, charge
from vl_pipeline.screening.image_embeddings import PoolEncoder
from vl_pipeline.screening.parameters import Duplicates, LeakGate, Screening
from vl_pipeline.screening.pictures import Pictures

Rule = Callable[[Pictures], Finding]


@dataclass(frozen=True, kw_only=True)
class Screened:
    """What screening left, and what it says of the rest.

    Attributes:
        pairs: Those that stay, in their order.
        ledger: Those that do not, rule by rule.
        evidence: Examples of each rule, and of images that stay many times.
        report: Counts, for MLflow and DVC.
    """

    pairs: pa.Table
    ledger: pa.Table
    evidence: pa.Table
    report: dict[str, Any]


def screen_pool(
    pairs: pa.Table, screening: Screening, *, folder: str | Path, tasks: Tasks, cache: Path
) -> Screened:
    """Turn away what is blocked, leaks, or repeats a picture.

    Args:
        pairs: The pool's table.
        screening: The rules and their limits.
        folder: The pool's images lie below it; a path or a URL.
        tasks: Nothing of what they ask may be in the pool.
        cache: Embeddings are kept below it.

    Raises:
        ParameterError: If the block list is none.
        ShardError: If an image cannot be read, of the pool or of a task.
        PoolError: If the accounts do not add up.
    """
    task_images = TaskImages(tasks)
    is_gated = screening.leaks.is_on and pairs.num_rows > 0
    evaluation = task_images.describe() if is_gated else EvaluationImages.none()
    encoder = None
    if screening.encoder is not None:
        encoder = PoolEncoder(Pictures(pairs), screening.encoder, folder=folder, cache=cache)
    left, ledgers, evidence = pairs, [LEDGER_SCHEMA.empty_table()], [EVIDENCE_SCHEMA.empty_table()]
    counts: dict[str, Any] = {}
    for rule in _rules(screening, evaluation, task_images, encoder):
        finding = rule(Pictures(left))
        evidence.append(
            draw_evidence(
                finding,
                left,
                images=PoolImages(left, folder),
                tasks=task_images,
                num_examples=screening.num_examples,
            )
        )
        left, ledger = charge(left, finding)
        ledgers.append(ledger)
        counts[finding.rule] = _counts(finding)
    images = PoolImages(left, folder)
    evidence.append(draw_repeated(left, images=images, num_examples=screening.num_examples))
    ledger = pa.concat_tables(ledgers)
    require_balance("screen", num_in=pairs.num_rows, num_kept=left.num_rows, ledger=ledger)
    report = {
        "num_in": pairs.num_rows,
        "num_kept": left.num_rows,
        "num_evaluation_images": len(evaluation.names),
        **counts,
    }
    return Screened(pairs=left, ledger=ledger, evidence=pa.concat_tables(evidence), report=report)


def _rules(
    screening: Screening,
    evaluation: EvaluationImages,
    tasks: TaskImages,
    encoder: PoolEncoder | None,
) -> Iterator[Rule]:
    """Give the rules that are on, in their order."""
    if screening.block_list is not None:
        yield partial(blocked, block_list=Path(screening.block_list))
    if screening.leaks.is_on:
        yield from _leak_rules(screening.leaks, evaluation, tasks, encoder)
    yield from _duplicate_rules(screening.duplicates, encoder)


def _leak_rules(
    gate: LeakGate, evaluation: EvaluationImages, tasks: TaskImages, encoder: PoolEncoder | None
) -> Iterator[Rule]:
    if gate.same_image:
        yield partial(leaks.same_image, evaluation=evaluation)
    if gate.max_hash_bits is not None:
        yield partial(
            leaks.near_image,
            evaluation=evaluation,
            max_bits=gate.max_hash_bits,
            max_colour_difference=gate.max_colour_difference,
        )
    if gate.min_similarity is not None and encoder is not None:
        yield partial(
            leaks.similar_image,
            encoder=encoder,
            evaluation=evaluation,
            tasks=tasks,
            min_similarity=gate.min_similarity,
        )
    if gate.min_caption_characters is not None:
        yield partial(
            leaks.same_caption, evaluation=evaluation, min_characters=gate.min_caption_characters
        )


def _duplicate_rules(rules: Duplicates, encoder: PoolEncoder | None) -> Iterator[Rule]:
    if rules.same_image:
        yield duplicates.same_image
    if rules.max_hash_bits is not None:
        yield partial(
            duplicates.near_image,
            max_bits=rules.max_hash_bits,
            max_colour_difference=rules.max_colour_difference,
        )
    if rules.min_similarity is not None and encoder is not None:
        yield partial(
            duplicates.similar_image, encoder=encoder, min_similarity=rules.min_similarity
        )


def _counts(finding: Finding) -> dict[str, int]:
    """Pairs turned away, what they were held to resemble, and the most that resemble one."""
    resembling = Counter(finding.matched_to)
    return {
        "num_rejected": len(finding.rows),
        "num_matched": len(resembling),
        "largest_group": 1 + max(resembling.values(), default=0),
    }
