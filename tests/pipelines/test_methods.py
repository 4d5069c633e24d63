"""What each method's pipeline is made of, and what a run of it leaves behind."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from tests.projects import ROOT, run
from vl_pipeline.curation.manifest import digest_of_manifest
from vl_pipeline.data.ledger import count_by_rule
from vl_pipeline.data.pool import digest_of_pool
from vl_pipeline.methods import all_methods
from vl_pipeline.models.weights import load_model
from vl_pipeline.pipeline_registry import register_pipelines

METHODS = [method.name for method in all_methods()]
BASELINES = [method.name for method in all_methods() if not method.own]
SCORED = [method.name for method in all_methods() if method.needs_pair_scores]
SHARED_NODES = {"ingest", "screen", "validate", "admit", "embed"}


@pytest.mark.parametrize("method", BASELINES)
def test_each_method_is_the_shared_stages_and_three_of_its_own(method: str) -> None:
    nodes = {node.name for node in register_pipelines()[method].nodes}

    own = {f"{method}.{stage}" for stage in ("curate", "train", "evaluate")}
    assert nodes == SHARED_NODES | own | ({"score"} if method in SCORED else set())


def test_pairs_are_scored_for_the_methods_that_ask_for_it() -> None:
    assert SCORED == ["cit_and_image_text", "image_text", "keyword_and_image_text"]


def test_a_method_with_towers_of_its_own_embeds_by_itself_and_counts_where_its_rules_ask() -> None:
    align = register_pipelines()["align"]

    own = {f"align.{stage}" for stage in ("embed", "curate", "train", "evaluate")}
    assert {node.name for node in align.nodes} == SHARED_NODES - {"embed"} | {"count"} | own
    assert {"params:align.model", "params:align.training"} < align.inputs()
    assert not {"params:model", "params:training", "params:text_start"} & align.inputs()


def test_what_a_method_has_of_its_own_is_what_it_was_trained_with(finished_project: Path) -> None:
    lineage = json.loads((finished_project / "data/06_models/align/lineage.json").read_text())

    assert lineage["model"]["name"] == "align-tiny-64"
    assert lineage["training"]["optimization"]["optimizer"] == "lamb"
    assert lineage["curator"]["rules"]["caption_of_many_images"]["max_value"] == 3


def test_the_rules_account_for_each_pair_of_the_pool(finished_project: Path) -> None:
    report = _json(finished_project, "align/curation.json")
    ledger = pq.read_table(finished_project / "data/08_reporting/align/curation_ledger.parquet")

    dropped = {n: v for n, v in report.items() if n.startswith("dropped_by_") and v}
    assert report["num_scanned"] == report["num_kept"] + ledger.num_rows
    assert {f"dropped_by_{rule}": n for rule, n in count_by_rule(ledger).items()} == dropped
    assert len(dropped) >= 3
    kept = set(_pairs(finished_project, "align", "curated_pairs")["uid"].to_pylist())
    assert not kept & set(ledger["uid"].to_pylist())


def test_the_baselines_share_every_number_that_is_not_about_choosing_pairs() -> None:
    pipelines = register_pipelines()

    parameters = {
        method: {n for n in pipelines[method].inputs() if n.startswith("params:")}
        - ({"params:pair_scorer"} if method in SCORED else set())
        for method in BASELINES
    }

    own = {
        f"params:{m}.{block}" for m in BASELINES for block in ("curation", "schedule", "objective")
    }
    assert len({frozenset(names - own) for names in parameters.values()}) == 1


def test_the_ledger_and_the_pool_add_up_to_everything_that_was_listed(
    finished_project: Path,
) -> None:
    summary = _json(finished_project, "validation/summary.json")
    pool = pq.read_table(finished_project / "data/03_primary/pool.parquet")
    ledger = pq.read_table(finished_project / "data/03_primary/ledger.parquet")

    assert summary["num_listed"] == 600 == pool.num_rows + ledger.num_rows
    assert sum(summary["rejected"].values()) == ledger.num_rows
    assert summary["pool_digest"] == digest_of_pool(pool)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_evaluates_every_task_beside_chance(finished_project: Path, method: str) -> None:
    metrics = _json(finished_project, f"{method}/metrics.json")

    assert set(metrics) == {"scenes", "other_scenes", "scenes_retrieval"}
    assert metrics["scenes"]["chance"] == pytest.approx(1 / 16)
    assert 0 <= metrics["scenes"]["zero_shot_top1"] <= metrics["scenes"]["zero_shot_top5"] <= 1


@pytest.mark.parametrize("method", METHODS)
def test_a_checkpoint_names_the_pool_and_the_pairs_it_comes_from(
    finished_project: Path, method: str
) -> None:
    checkpoint = finished_project / "data/06_models" / method
    lineage = json.loads((checkpoint / "lineage.json").read_text())
    pool = pq.read_table(finished_project / "data/03_primary/pool.parquet")
    pairs = _pairs(finished_project, method, "trained_pairs")

    model, _ = load_model(checkpoint, device=torch.device("cpu"))

    assert lineage["method"] == method
    assert lineage["pool_digest"] == digest_of_pool(pool)
    assert lineage["trained_pairs_digest"] == digest_of_manifest(pairs)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_the_loss_falls(finished_project: Path, tmp_path: Path) -> None:
    project = shutil.copytree(finished_project, tmp_path / "longer")

    run(project, "clip", from_nodes=["clip.curate"], params={"training": {"num_steps": 60}})

    losses = [r["loss_total"] for r in _json(project, "clip/history.json")]
    assert np.mean(losses[-20:]) < np.mean(losses[:20]) - 0.1


@pytest.mark.parametrize("method", METHODS)
def test_losses_are_those_that_were_written_down(finished_project: Path, method: str) -> None:
    """A change that is not meant to change numbers leaves these as they are.

    To write them down anew, copy the list that the failure shows, and say why in the commit.
    """
    golden = json.loads((ROOT / "tests/golden/losses.json").read_text())

    losses = [r["loss_total"] for r in _json(finished_project, f"{method}/history.json")]

    assert losses == pytest.approx(golden[method], rel=1e-3)


def test_cit_trains_on_what_its_rounds_kept_and_no_pair_twice_in_a_round(
    finished_project: Path,
) -> None:
    rounds = _json(finished_project, "cit/rounds.json")
    pairs = _pairs(finished_project, "cit", "trained_pairs")

    counts = {c["values"]: c["counts"] for c in pc.value_counts(pairs["round"]).to_pylist()}

    kept = {r["round"]: r["num_kept"] for r in rounds}
    assert counts.keys() == kept.keys()
    assert all(counts[index] <= kept[index] for index in kept)
    once = pairs.group_by(["round", "uid"]).aggregate([])
    assert once.num_rows == pairs.num_rows


@pytest.mark.parametrize("method", METHODS)
def test_the_pairs_trained_on_were_seen_as_often_as_steps_took_them(
    finished_project: Path, method: str
) -> None:
    report = _json(finished_project, f"{method}/training.json")
    pairs = _pairs(finished_project, method, "trained_pairs")

    seen = pairs.group_by("uid").aggregate([("times_seen", "max")])

    assert pc.sum(seen["times_seen_max"]).as_py() == report["pairs_seen"]
    assert seen.num_rows == report["num_unique_pairs"]


def test_random_keeps_about_its_share_of_the_pool(finished_project: Path) -> None:
    report = _json(finished_project, "random/curation.json")

    assert report["keep_fraction"] == pytest.approx(0.5, abs=0.08)


def test_the_summary_holds_the_pairs_against_the_truth(finished_project: Path) -> None:
    truth = _json(finished_project, "cit/truth.json")
    wanted, kept = _by_hand(finished_project)

    assert truth["precision"] == pytest.approx(len(wanted & kept) / len(kept))
    assert truth["recall"] == pytest.approx(len(wanted & kept) / len(wanted))


@pytest.mark.parametrize("method", METHODS)
def test_equal_parameters_make_equal_bytes(finished_project: Path, method: str) -> None:
    outputs = ("metrics.json", "history.json", "curation.json")
    reports = finished_project / "data/08_reporting" / method
    weights = finished_project / "data/06_models" / method / "weights.safetensors"
    before = [(reports / name).read_bytes() for name in outputs] + [weights.read_bytes()]
    for file in (finished_project / "data/scratch" / method).rglob("state.json"):
        file.unlink()  # without its checkpoints the training starts anew

    run(finished_project, method, from_nodes=[f"{method}.curate"])

    after = [(reports / name).read_bytes() for name in outputs] + [weights.read_bytes()]
    assert before == after


def _by_hand(project: Path) -> tuple[set[str], set[str]]:
    pool = pq.read_table(project / "data/03_primary/pool.parquet").to_pylist()
    truth = pq.read_table(project / "data/01_raw/fabricated/truth.parquet").to_pylist()
    good = {t["key"] for t in truth if t["relevant"] and t["caption_matches_image"]}
    kept = set(_pairs(project, "cit", "trained_pairs")["uid"].to_pylist())
    return {pair["uid"] for pair in pool if pair["key"] in good}, kept


def _json(project: Path, name: str) -> dict:
    return json.loads((project / "data/08_reporting" / name).read_text())


def _pairs(project: Path, method: str, name: str) -> pa.Table:
    return pq.read_table(project / "data/05_model_input" / method / f"{name}.parquet")
