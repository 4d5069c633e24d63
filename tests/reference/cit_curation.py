"""One curation round of CiT in plain loops, as its paper and released code have it.

Written from specs/cit.md section 1.2 (facebookresearch/CiT engine.py:235-309), not from this
package: one producer batch after the other, a strict threshold, the best int(gamma * n) of a batch
where less than gamma of it passes, and a cut to the budget. The released code keeps the ids in a
set and cuts that; here they stay in the order in which they came (section 5, number 9).
"""

from collections.abc import Iterable, Sequence

Vector = Sequence[float]


def curation_round(
    producer: Iterable[list[tuple[int, Vector]]],
    targets: list[Vector],
    *,
    threshold: float,
    gamma: float | None,
    budget: int,
) -> list[int]:
    """Ids that one round keeps, in order; `producer` gives batches of (id, unit-length text)."""
    curated: dict[int, None] = {}
    for batch in producer:
        if len(curated) >= budget:
            break
        score = {number: best_similarity(text, targets) for number, text in batch}
        passing = [number for number in score if score[number] > threshold]
        if gamma is not None and len(passing) / len(batch) < gamma:
            passing = best_of(score, k=int(gamma * len(batch)))
        for number in score:
            if number in passing:
                curated[number] = None
    return list(curated)[:budget]


def best_similarity(text: Vector, targets: list[Vector]) -> float:
    """Largest cosine similarity of a text to any target."""
    best = -float("inf")
    for target in targets:
        similarity = 0.0
        for a, b in zip(text, target, strict=True):
            similarity += a * b
        best = max(best, similarity)
    return best


def best_of(score: dict[int, float], *, k: int) -> list[int]:
    """The k ids of highest score; among equals, those that came first."""
    left = list(score)
    best: list[int] = []
    while len(best) < k:
        leader = left[0]
        for number in left:
            if score[number] > score[leader]:
                leader = number
        best.append(leader)
        left.remove(leader)
    return best
