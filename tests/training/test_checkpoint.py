import json
import logging
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from vl_pipeline.training.checkpoint import CheckpointFolder, Progress
from vl_pipeline.training.forecast import LastFeatures
from vl_pipeline.training.schedule import RoundState


class TwoLayers(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.first = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        with torch.no_grad():
            self.first.weight.copy_(torch.randn(2, 3, generator=draw))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.first(x)).square().sum()


def new_run(seed: int = 0) -> tuple[TwoLayers, torch.optim.AdamW]:
    model = TwoLayers(seed)
    return model, torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)


def train_one_step(model: TwoLayers, optimizer: torch.optim.AdamW) -> None:
    optimizer.zero_grad()
    model(torch.randn(4, 3)).backward()
    optimizer.step()


def progress_at(step: int) -> Progress:
    return Progress(
        step=step,
        round=RoundState(index=2, position=17, rows=np.array([5, 3, 9])),
        num_batches_done=1,
        history=[{"step": step, "loss_total": 0.5}],
        rounds=[{"round": 2, "status": "filled", "num_kept": 3}],
        validation=[{"step": step, "task_zero_shot_top1": 0.25}],
        seconds=1.5,
    )


def folder_of(tmp_path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "checkpoints")


def saved_at(tmp_path, *steps: int) -> list[dict[str, torch.Tensor]]:
    """Save checkpoints after these steps; give the weights of each."""
    torch.manual_seed(0)
    model, optimizer = new_run()
    weights = []
    for step in range(1, max(steps) + 1):
        train_one_step(model, optimizer)
        if step in steps:
            folder_of(tmp_path).save(model, optimizer, progress_at(step))
            weights.append({name: t.clone() for name, t in model.state_dict().items()})
    return weights


def names_in(tmp_path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "checkpoints").iterdir())


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_without_a_checkpoint_a_run_starts_at_the_beginning(tmp_path):
    model, optimizer = new_run()
    before = {name: t.clone() for name, t in model.state_dict().items()}

    progress = folder_of(tmp_path).restore(model, optimizer)

    assert (progress.step, progress.round, progress.history) == (0, None, [])
    assert same(before, model.state_dict())


def test_progress_comes_back(tmp_path):
    saved_at(tmp_path, 3)

    progress = folder_of(tmp_path).restore(*new_run(seed=1))

    assert progress.round.rows.tolist() == [5, 3, 9]
    assert (progress.round.index, progress.round.position) == (2, 17)
    assert (progress.step, progress.num_batches_done) == (3, 1)
    assert progress.history == [{"step": 3, "loss_total": 0.5}]
    assert progress.rounds == [{"round": 2, "status": "filled", "num_kept": 3}]


def test_what_a_schedule_goes_on_with_comes_back(tmp_path):
    last = LastFeatures(np.array([[0, 0], [127, -3]], np.int8))
    encoder = {"layer.weight": np.ones((2, 2), np.float32), "bias": np.zeros(2, np.float32)}
    progress = progress_at(1)
    progress.round = replace(progress.round, last_features=last, encoder=encoder)
    folder_of(tmp_path).save(*new_run(), progress)

    restored = folder_of(tmp_path).restore(*new_run()).round

    np.testing.assert_array_equal(last.rounded, restored.last_features.rounded)
    assert encoder.keys() == restored.encoder.keys()
    assert all((encoder[name] == array).all() for name, array in restored.encoder.items())


def test_checkpoint_that_lost_what_its_schedule_goes_on_with_is_passed_over(tmp_path):
    progress = progress_at(1)
    progress.round = replace(progress.round, encoder={"bias": np.zeros(2, np.float32)})
    path = folder_of(tmp_path).save(*new_run(), progress)
    (path / "schedule.safetensors").unlink()

    assert folder_of(tmp_path).restore(*new_run()).step == 0


def test_progress_before_the_first_round_comes_back(tmp_path):
    folder_of(tmp_path).save(*new_run(), Progress(history=[], rounds=[]))

    assert folder_of(tmp_path).restore(*new_run()).round is None


def test_weights_statistics_moments_and_random_state_come_back(tmp_path):
    (weights,) = saved_at(tmp_path, 3)
    torch.manual_seed(99)
    model, optimizer = new_run(seed=1)

    folder_of(tmp_path).restore(model, optimizer)
    assert same(weights, model.state_dict())

    # the next step draws, normalises and moves as if there had been no interruption
    train_one_step(model, optimizer)
    (expected,) = saved_at(tmp_path / "whole", 4)
    assert same(expected, model.state_dict())


def test_frozen_parameters_are_saved_too(tmp_path):
    model, optimizer = new_run()
    model.first.requires_grad_(False)
    train_one_step(model, optimizer)
    folder_of(tmp_path).save(model, optimizer, progress_at(1))

    restored, other = new_run(seed=1)
    folder_of(tmp_path).restore(restored, other)

    assert same(model.state_dict(), restored.state_dict())


def test_the_last_two_checkpoints_are_kept(tmp_path):
    saved_at(tmp_path, 1, 2, 3)

    assert names_in(tmp_path) == ["step-00000002", "step-00000003"]


def test_last_checkpoint_is_used(tmp_path):
    saved_at(tmp_path, 9, 10)

    assert folder_of(tmp_path).restore(*new_run()).step == 10


def test_saving_again_after_the_same_step_replaces(tmp_path):
    saved_at(tmp_path, 2)
    (weights,) = saved_at(tmp_path, 2)
    model, optimizer = new_run(seed=1)

    folder_of(tmp_path).restore(model, optimizer)

    assert names_in(tmp_path) == ["step-00000002"]
    assert same(weights, model.state_dict())


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change_state(folder, **changes: object) -> None:
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(state | changes))


def change_moments(folder, **changes: torch.Tensor) -> None:
    moments = load_file(folder / "optimizer.safetensors")
    names = {name.replace(".", "_").replace("|", "_"): name for name in moments}
    save_file(
        moments | {names.get(k, k): t for k, t in changes.items()}, folder / "optimizer.safetensors"
    )


DAMAGES = {
    "weights cut": lambda folder: cut(folder / "weights.safetensors"),
    "weights empty": lambda folder: (folder / "weights.safetensors").write_bytes(b""),
    "weights gone": lambda folder: (folder / "weights.safetensors").unlink(),
    "moments cut": lambda folder: cut(folder / "optimizer.safetensors"),
    "rows cut": lambda folder: cut(folder / "round_rows.npy"),
    "state cut": lambda folder: cut(folder / "state.json"),
    "state empty": lambda folder: (folder / "state.json").write_text(""),
    "state without step": lambda folder: (folder / "state.json").write_text(
        json.dumps({"history": []})
    ),
    "weights of another model": lambda folder: shutil.copy(
        folder / "optimizer.safetensors", folder / "weights.safetensors"
    ),
    "rows empty": lambda folder: (folder / "round_rows.npy").write_bytes(b""),
    "random state cut": lambda folder: change_state(folder, random_state=[1, 2]),
    "random state beyond bytes": lambda folder: change_state(folder, random_state=[300] * 5056),
    "round of another kind": lambda folder: change_state(folder, round=["evil"]),
    "state nested without end": lambda folder: (folder / "state.json").write_text("[" * 200_000),
    "moments of no parameter": lambda folder: change_moments(folder, evil=torch.ones(1)),
    "moments of another shape": lambda folder: change_moments(
        folder, first_weight_exp_avg=torch.ones(7)
    ),
    "state of another kind": lambda folder: (folder / "state.json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, damage, caplog):
    weights = saved_at(tmp_path, 1, 2)
    damage(tmp_path / "checkpoints" / "step-00000002")
    model, optimizer = new_run(seed=1)

    with caplog.at_level(logging.WARNING):
        progress = folder_of(tmp_path).restore(model, optimizer)

    assert progress.step == 1
    assert same(weights[0], model.state_dict())
    assert "step-00000002 is damaged" in caplog.text
    train_one_step(model, optimizer)
    assert same(weights[1], model.state_dict())  # moments and random state are those of step 1


def test_only_checkpoint_that_is_damaged_leaves_the_model_as_it_was(tmp_path):
    saved_at(tmp_path, 1)
    DAMAGES["state without step"](tmp_path / "checkpoints" / "step-00000001")
    model, optimizer = new_run(seed=1)
    before = {name: t.clone() for name, t in model.state_dict().items()}

    progress = folder_of(tmp_path).restore(model, optimizer)

    assert progress.step == 0
    assert same(before, model.state_dict())
    assert not optimizer.state


class Trap:
    """Says so when it is unpickled."""

    sprung = False

    @staticmethod
    def spring() -> "Trap":
        Trap.sprung = True
        return Trap()

    def __reduce__(self) -> tuple:
        return Trap.spring, ()


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "round_rows.npy"])
def test_pickled_file_in_place_of_tensors_is_refused_and_not_run(tmp_path, name):
    weights = saved_at(tmp_path, 1, 2)
    target = tmp_path / "checkpoints" / "step-00000002" / name
    if name.endswith(".npy"):
        np.save(target, np.array([Trap()], dtype=object), allow_pickle=True)
    else:
        target.write_bytes(pickle.dumps(Trap()))
    model, optimizer = new_run(seed=1)
    Trap.sprung = False

    progress = folder_of(tmp_path).restore(model, optimizer)

    assert not Trap.sprung
    assert progress.step == 1
    assert same(weights[0], model.state_dict())


def test_failed_save_leaves_the_checkpoint_before(tmp_path):
    (weights,) = saved_at(tmp_path, 1)
    progress = progress_at(2)
    progress.history.append({"loss_total": object()})  # JSON cannot hold it

    with pytest.raises(TypeError):
        folder_of(tmp_path).save(*new_run(), progress)

    model, optimizer = new_run(seed=1)
    assert names_in(tmp_path) == ["step-00000001"]
    assert folder_of(tmp_path).restore(model, optimizer).step == 1
    assert same(weights, model.state_dict())
