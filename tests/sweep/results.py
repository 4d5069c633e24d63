"""Results of cells, made up."""

from vl_pipeline.sweep.run import Result


def result(
    strategy: str,
    *,
    seed: int,
    accuracy: float,
    value: float | None = None,
    val: tuple[float, ...] = (0.1, 0.2),
    relaxed: int = 0,
) -> Result:
    """One cell on the task `food`; validations come every 100 pairs, the last after training."""
    curation = {"num_kept": 10, "keep_fraction": 0.1, "kept_by_relaxation": relaxed}
    return {
        "key": f"{strategy}{value}{seed}",
        "strategy": strategy,
        "method": strategy,
        "value": value,
        "seed": seed,
        "parameters": {"curation": {"threshold": value} if value else {}},
        "curation": curation,
        "training": {"pairs_seen": 100 * len(val), "num_unique_pairs": 50},
        "history": [],
        "rounds": [],
        "validation": [
            {"step": n, "pairs_seen": 100 * n, "seconds": 1.0, "food_zero_shot_top1": accuracy_then}
            for n, accuracy_then in enumerate(val, start=1)
        ],
        "metrics": {"food": {"zero_shot_top1": accuracy, "chance": 0.1}},
        "seconds": 2.0,
    }


def failed(strategy: str, *, seed: int, value: float) -> Result:
    """A cell whose curator kept too little."""
    about = {"key": f"{strategy}{value}{seed}", "strategy": strategy, "method": strategy}
    return about | {"value": value, "seed": seed, "parameters": {}, "error": "kept 0 of 9"}
