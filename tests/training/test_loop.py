import copy
import dataclasses
import math
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fakes import fake_tokens, objective_of, write_pool_shard
from vl_pipeline.curation.target_similarity import TargetSimilarity, ThresholdMode
from vl_pipeline.data.loader import ViewLoader
from vl_pipeline.data.pool import PoolImages
from vl_pipeline.data.views import TrainingViews
from vl_pipeline.embedding.encode import TextEncoder
from vl_pipeline.embedding.image_source import FreshViews, FrozenFeatures
from vl_pipeline.errors import CurationError, TrainingError
from vl_pipeline.objectives.contrastive import Symmetric
from vl_pipeline.objectives.objective import Needs, Objective, Step
from vl_pipeline.training.checkpoint import CheckpointFolder, Progress
from vl_pipeline.training.curate_during_training import CurateDuringTraining
from vl_pipeline.training.curate_while_loading import CurateWhileLoading
from vl_pipeline.training.gradient import Batch
from vl_pipeline.training.looks import PoolLooks
from vl_pipeline.training.loop import Trainer, Training
from vl_pipeline.training.optimization import Optimization
from vl_pipeline.training.rescoring import SkipRescoring
from vl_pipeline.training.schedule import EpochsOverCuratedSet, Round, Site

CPU = torch.device("cpu")
NUM_PAIRS = 24
BATCH_SIZE = 4
VIEWS = TrainingViews(min_crop_fraction=0.5, flip_probability=0.5)
CURATOR = TargetSimilarity(
    threshold=0.5, threshold_mode=ThresholdMode.QUANTILE, min_keep_fraction=0.1, block_size=6
)
IN_ROUNDS = CurateDuringTraining(curate_every=2, max_scan=100, calibration_size=12)
SKIP = SkipRescoring(miss_rate=0.25, sample_size=4, audit_size=2)
SCHEDULES = {
    "during training": IN_ROUNDS,
    "overlapped": dataclasses.replace(IN_ROUNDS, overlap=True),
    "skipping": dataclasses.replace(IN_ROUNDS, skip_rescoring=SKIP),
    "overlapped and skipping": dataclasses.replace(IN_ROUNDS, overlap=True, skip_rescoring=SKIP),
    "while loading": CurateWhileLoading(fill_steps=2, calibration_size=12),
    "before training": EpochsOverCuratedSet(),
}


def training(
    *, learning_rate: float = 1e-2, warmup_steps: int = 2, optimizer="adamw", **settings
) -> Training:
    optimization = Optimization(
        optimizer=optimizer,
        learning_rate=learning_rate,
        min_learning_rate=1e-4,
        warmup_steps=warmup_steps,
        weight_decay=0.1,
        projection_weight_decay=0.5,
        beta1=0.9,
        beta2=0.99,
    )
    defaults = {
        "num_steps": 6,
        "batch_size": BATCH_SIZE,
        "accumulate": 1,
        "optimization": optimization,
        "views": VIEWS,
        "log_every": 1,
        "checkpoint_every": 1,
        "validate_every": 2,
        "num_threads": 2,
        "seed": 0,
    }
    return Training(**defaults | settings)


@dataclass
class World:
    """A pool with images, captions and target texts, and a model to train on it."""

    images: PoolImages
    pool: object
    model: object

    tokens = fake_tokens(NUM_PAIRS)
    target_tokens = fake_tokens(3, longest=5)

    def looks(self, model) -> PoolLooks:
        return PoolLooks(
            TextEncoder(model, CPU),
            self.pool,
            self.tokens,
            target_texts=["first", "second", "third"],
            target_tokens=self.target_tokens,
        )

    def site(self, model) -> Site:
        looks = self.looks(model)
        before = self.looks(self.model).now()
        everything = before(np.arange(NUM_PAIRS))
        captions, targets = everything.caption_features, everything.target_features
        return Site(
            num_pairs=NUM_PAIRS,
            curator=CURATOR,
            look=looks.now,
            look_before_training=lambda rows: dataclasses.replace(
                before(rows),
                encode_captions=lambda rows: captions[rows],
                encode_targets=lambda: targets,
            ),
            initial_targets=targets,
            curated=np.arange(0, NUM_PAIRS, 2),
            batch_size=BATCH_SIZE,
            seed=0,
            weights=looks.weights,
            look_at=looks.at,
            num_encoded=looks.num_encoded,
        )

    def trainer(self, settings: Training, *, objective=None, num_views: int = 1, model=None):
        model = copy.deepcopy(self.model) if model is None else model
        loader = ViewLoader(
            self.images, VIEWS, side_px=model.image_size_px, num_views=num_views, seed=0
        )
        source = FreshViews(model, loader, device=CPU, num_threads=2)
        return Trainer(
            model, objective or objective_of("symmetric"), source, self.tokens, settings, device=CPU
        )

    def run(
        self,
        folder,
        settings: Training | None = None,
        *,
        schedule="during training",
        validate=None,
        **parts,
    ) -> tuple[Trainer, Progress, list[Round]]:
        trainer = self.trainer(settings or training(), **parts)
        rounds: list[Round] = []
        progress = trainer.run(
            SCHEDULES[schedule] if isinstance(schedule, str) else schedule,
            self.site(trainer.model),
            CheckpointFolder(folder),
            on_round=rounds.append,
            validate=validate,
        )
        return trainer, progress, rounds


@pytest.fixture
def world(tmp_path, fake_vit) -> World:
    pool = write_pool_shard(tmp_path / "0.tar", [f"caption {n}" for n in range(NUM_PAIRS)])
    return World(images=PoolImages(pool, tmp_path), pool=pool, model=fake_vit)


def weight_sum(model) -> dict[str, float]:
    return {"weights": sum(p.double().sum().item() for p in model.parameters())}


def without_seconds(records):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def weights_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: t.clone() for name, t in trainer.modules.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


class PowerCutError(Exception):
    """The power cut of these tests."""


class CopiedAside:
    """A checkpoint folder that is copied after each save, as if the process had died there."""

    def __init__(self, folder: CheckpointFolder, copies: Path) -> None:
        self.path, self.restore = folder.path, folder.restore
        self._folder, self._copies = folder, copies

    def save(self, modules, optimizer, progress: Progress) -> None:
        self._folder.save(modules, optimizer, progress)
        shutil.copytree(self.path, self._copies / str(progress.step))


# --- a run


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_run_takes_exactly_the_steps_asked_for(world, tmp_path, schedule):
    _, progress, _ = world.run(tmp_path / "run", training(num_steps=5), schedule=schedule)

    assert progress.step == 5
    assert [record["step"] for record in progress.history] == [1, 2, 3, 4, 5]
    assert [record["pairs_seen"] for record in progress.history] == [4, 8, 12, 16, 20]


def test_history_is_recorded_every_few_steps_and_at_the_end(world, tmp_path):
    _, progress, _ = world.run(tmp_path / "run", training(num_steps=5, log_every=2))

    assert [record["step"] for record in progress.history] == [2, 4, 5]
    assert {
        "step",
        "pairs_seen",
        "loss_contrastive",
        "loss_total",
        "learning_rate",
        "temperature",
    } == set(progress.history[0])


def test_rounds_are_recorded_with_the_step_they_begin_at(world, tmp_path):
    _, progress, rounds = world.run(tmp_path / "run", training(num_steps=5))

    assert [(r["round"], r["step"]) for r in progress.rounds] == [(0, 0), (1, 2), (2, 4)]
    assert [round_.state.index for round_ in rounds] == [0, 1, 2]
    assert all(r["status"] == "filled" for r in progress.rounds)


def test_learning_rate_of_each_step_is_the_plans(world, tmp_path):
    _, progress, _ = world.run(tmp_path / "run", training(num_steps=4, warmup_steps=2))

    # warm-up 0, 1/2; then half a cosine from 1e-2 to 1e-4: 1e-2, and half way between
    assert pytest.approx([record["learning_rate"] for record in progress.history]) == [
        0.0,
        5e-3,
        1e-2,
        5.05e-3,
    ]


def test_loss_falls_on_a_pool_that_can_be_learned(world, tmp_path):
    settings = training(num_steps=90, learning_rate=3e-3, checkpoint_every=1000)

    _, progress, _ = world.run(tmp_path / "run", settings, schedule="before training")

    losses = [record["loss_total"] for record in progress.history]
    # a model that tells no pairs apart stays at log(4) = 1.39
    assert np.mean(losses[-5:]) < 1.0


def test_equal_runs_end_in_equal_weights(world, tmp_path):
    first, progress, _ = world.run(tmp_path / "first")
    second, again, _ = world.run(tmp_path / "second")

    assert same(weights_of(first), weights_of(second))
    assert progress.history == again.history


def test_temperature_is_clamped_after_each_step(world, tmp_path):
    with torch.no_grad():
        world.model.log_temperature.fill_(math.log(0.001))

    trainer, progress, _ = world.run(tmp_path / "run", training(num_steps=2))

    assert trainer.model.temperature.item() >= 0.01 * (1 - 1e-6)
    assert pytest.approx(progress.history[0]["temperature"]) == 0.01


def test_a_fixed_temperature_stays_where_it_was(world, tmp_path):
    world.model.log_temperature.requires_grad_(False)

    trainer, progress, _ = world.run(tmp_path / "run", training(num_steps=3))

    assert {0.07} == {round(record["temperature"], 6) for record in progress.history}
    assert torch.equal(world.model.log_temperature, trainer.model.log_temperature)


def test_first_step_of_a_warmup_changes_nothing(world, tmp_path):
    before = copy.deepcopy(world.model.state_dict())

    trainer, _, _ = world.run(tmp_path / "run", training(num_steps=1))

    assert same(before, trainer.model.state_dict())


# --- interruptions


@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_run_resumed_at_any_step_equals_the_uninterrupted_run(world, tmp_path, schedule, optimizer):
    settings = training(optimizer=optimizer)
    whole = world.trainer(settings)
    expected = whole.run(
        SCHEDULES[schedule],
        world.site(whole.model),
        CopiedAside(CheckpointFolder(tmp_path / "whole"), tmp_path),
        on_round=lambda _: None,
        validate=weight_sum,
    )

    for step in range(1, 6):
        torch.manual_seed(12345)  # another process has another random state
        resumed, progress, rounds = world.run(
            tmp_path / str(step), settings, schedule=schedule, validate=weight_sum
        )

        assert same(weights_of(whole), weights_of(resumed)), f"interrupted after step {step}"
        assert expected.history == progress.history
        assert expected.rounds == progress.rounds
        assert without_seconds(expected.validation) == without_seconds(progress.validation)
        assert all(round_.state.index > 0 for round_ in rounds)


def test_run_cut_between_checkpoints_goes_on_from_the_last_one(world, tmp_path):
    settings = training(checkpoint_every=2)
    whole, expected, _ = world.run(tmp_path / "whole", settings)
    steps_until_failure = iter(range(3))

    class FailsInFourthStep:
        needs = Needs()

        def __call__(self, step: Step) -> torch.Tensor:
            if next(steps_until_failure, None) is None:
                raise PowerCutError
            return objective_of("symmetric")(step)[0]

    with pytest.raises(PowerCutError):
        world.run(
            tmp_path / "cut",
            settings,
            objective=Objective({"contrastive": (1.0, FailsInFourthStep())}),
        )
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["step-00000002"]

    resumed, progress, rounds = world.run(tmp_path / "cut", settings)

    assert same(weights_of(whole), weights_of(resumed))
    assert expected.rounds == progress.rounds
    assert [round_.state.index for round_ in rounds] == [1, 2]  # round 1 is decided again, alike


def test_validating_is_recorded_every_so_many_steps_and_after_the_last(world, tmp_path):
    asked = []

    def validate(model):
        model.eval()
        asked.append(weight_sum(model))
        return asked[-1]

    trainer, progress, _ = world.run(
        tmp_path, training(num_steps=5, validate_every=2), validate=validate
    )

    places = [(r["step"], r["pairs_seen"]) for r in progress.validation]
    assert places == [(2, 2 * BATCH_SIZE), (4, 4 * BATCH_SIZE), (5, 5 * BATCH_SIZE)]
    assert [r["weights"] for r in progress.validation] == [a["weights"] for a in asked]
    assert progress.validation[-1]["weights"] == weight_sum(trainer.model)["weights"]


def test_seconds_grow_from_step_to_step_and_leave_out_validating(world, tmp_path):
    def validate(_):
        time.sleep(0.5)
        return {}

    started = time.monotonic()
    _, progress, _ = world.run(tmp_path, training(num_steps=4, validate_every=1), validate=validate)
    elapsed = time.monotonic() - started

    seconds = [record["seconds"] for record in progress.validation]
    assert seconds == sorted(seconds)
    assert 0 < seconds[0] < seconds[-1] <= progress.seconds <= elapsed - 4 * 0.5


def test_validating_changes_nothing_about_what_is_trained(world, tmp_path, resnet):
    world.model = resnet  # whose batch norms would remember evaluation mode

    def validate(model):
        model.eval()
        return {}

    settings = training(num_steps=4, validate_every=1)
    with_it, *_ = world.run(tmp_path / "with", settings, validate=validate)
    without, *_ = world.run(tmp_path / "without", settings)

    assert same(weights_of(with_it), weights_of(without))


def test_finished_run_is_not_trained_again(world, tmp_path):
    first, expected, _ = world.run(tmp_path / "run")

    again, progress, rounds = world.run(tmp_path / "run")

    assert same(weights_of(first), weights_of(again))
    assert expected.history == progress.history
    assert rounds == []


def test_loss_that_is_not_finite_stops_the_run_and_leaves_the_last_checkpoint(world, tmp_path):
    steps_until_failure = iter(range(3))

    class NotFiniteInFourthStep:
        needs = Needs()

        def __call__(self, step: Step) -> torch.Tensor:
            broken = next(steps_until_failure, None) is None
            return objective_of("symmetric")(step)[0] * (math.nan if broken else 1)

    with pytest.raises(TrainingError, match=r"the loss is nan at step 3.*training begins anew"):
        world.run(
            tmp_path / "run",
            objective=Objective({"contrastive": (1.0, NotFiniteInFourthStep())}),
        )

    trainer = world.trainer(training())
    restored = CheckpointFolder(tmp_path / "run").restore(trainer.modules, trainer.optimizer)
    assert restored.step == 3
    assert all(torch.isfinite(t).all() for t in weights_of(trainer).values())


def test_gradient_that_is_not_finite_does_not_reach_a_checkpoint(world, tmp_path):
    class FiniteLossBrokenSlope:
        needs = Needs()

        def __call__(self, step: Step) -> torch.Tensor:
            return (step.text_embeddings * 0).sum().sqrt()  # 0, with the slope 0 * inf

    with pytest.raises(TrainingError):
        world.run(
            tmp_path / "run",
            objective=Objective({"broken": (1.0, FiniteLossBrokenSlope())}),
        )

    trainer = world.trainer(training())
    CheckpointFolder(tmp_path / "run").restore(trainer.modules, trainer.optimizer)
    assert all(torch.isfinite(t).all() for t in weights_of(trainer).values())


# --- rounds chosen ahead


class OneRoundStale:
    """What overlapping has to give, in one thread: rounds chosen with copies put aside before."""

    def rounds(self, site: Site, *, resume=None):
        assert resume is None
        current = IN_ROUNDS._curate(site, site.look(), None)
        while True:
            before = site.weights()
            yield current
            current = IN_ROUNDS._curate(site, site.look_at(before), current.state)


def test_overlapped_rounds_are_those_of_an_encoder_that_is_one_round_old(world, tmp_path):
    settings = training(num_steps=10)
    stale, expected, rounds = world.run(tmp_path / "stale", settings, schedule=OneRoundStale())
    overlapped, progress, found = world.run(tmp_path / "ahead", settings, schedule="overlapped")
    _, _, fresh = world.run(tmp_path / "fresh", settings)

    assert 5 == len(rounds) == len(found)
    for one, other in zip(rounds, found, strict=True):
        assert one.state.rows.tolist() == other.state.rows.tolist()
        assert one.selection.score.tolist() == other.selection.score.tolist()
        age = min(1, one.state.index) * 2
        assert {**one.statistics, "encoder_age_steps": age} == other.statistics
    assert same(weights_of(stale), weights_of(overlapped))
    assert expected.history == progress.history
    # and the age shows: the first two rounds see the same weights, the third does not
    scores = [[r.selection.score.tolist() for r in run] for run in (found, fresh)]
    assert scores[0][:1] == scores[1][:1]
    assert scores[0][2:] != scores[1][2:]


def test_error_of_a_round_chosen_ahead_comes_when_the_round_is_due(world, tmp_path):
    class FailsInSecondRound:
        block_size = None
        num_calibrated = 0

        def calibrate(self, sample):
            self.num_calibrated += 1
            if self.num_calibrated == 2:
                raise CurationError("round 1 kept 0 of 24 candidates")
            return CURATOR.calibrate(sample)

    trainer = world.trainer(training())
    site = dataclasses.replace(world.site(trainer.model), curator=FailsInSecondRound())
    folder = CheckpointFolder(tmp_path / "run")

    with pytest.raises(CurationError, match="round 1 kept 0"):
        trainer.run(SCHEDULES["overlapped"], site, folder, on_round=lambda _: None)

    restored = world.trainer(training())
    assert folder.restore(restored.modules, restored.optimizer).step == 2


@pytest.mark.parametrize("fails", [False, True])
def test_no_thread_is_left_when_training_ends(world, tmp_path, fails):
    class Fails:
        needs = Needs()

        def __call__(self, step: Step) -> torch.Tensor:
            raise PowerCutError

    objective = Objective({"contrastive": (1.0, Fails())}) if fails else None
    before = set(threading.enumerate())
    try:
        world.run(
            tmp_path / "run", training(num_steps=1), schedule="overlapped", objective=objective
        )
    except PowerCutError:
        assert fails

    assert {t for t in threading.enumerate() if t.name == "curate-ahead"} - before == set()


def test_rounds_count_the_captions_that_pass_the_tower(world, tmp_path):
    _, progress, _ = world.run(tmp_path / "run", schedule="during training")
    _, skipping, _ = world.run(tmp_path / "skipping", schedule="skipping")

    for record in progress.rounds:  # 12 to calibrate, and what is scanned; no two captions equal
        assert 12 + record["num_scanned"] == record["captions_encoded"]
    first, *later = skipping.rounds
    assert 12 + first["num_scanned"] == first["captions_encoded"]
    for record in later:
        sampled = record["captions_encoded"] - 12 - record["num_rescored"]
        assert record["num_rescored"] + record["num_skipped"] == record["num_scanned"]
        assert 0 <= sampled <= SKIP.sample_size + SKIP.audit_size


# --- a batch in parts


@pytest.mark.parametrize("is_masked", [True, False])
def test_a_step_knows_which_captions_are_the_same_where_a_term_asks(world, is_masked):
    steps: list[Step] = []

    class Watches:
        needs = Needs(captions=is_masked)

        def __call__(self, step: Step) -> torch.Tensor:
            steps.append(step)
            return (step.image_embeddings.sum() + step.text_embeddings.sum()) * 0

    trainer = world.trainer(training(), objective=Objective({"watches": (1.0, Watches())}))
    tokens = torch.tensor([[8, 1, 9], [8, 2, 9], [8, 1, 9], [8, 9, 0]])
    batch = batch_of(world, size=4)

    trainer.gradient.backward(dataclasses.replace(batch, tokens=tokens))

    numbers = steps[0].captions
    if not is_masked:
        assert numbers is None
        return
    assert numbers is not None
    alike = numbers[:, None] == numbers
    assert alike.sum() == 6  # each with itself, and the first with the third
    assert alike[0, 2]


def batch_of(world: World, *, num_views: int = 1, size: int = 6) -> Batch:
    rows = np.arange(size) * 3
    model = world.model
    loader = ViewLoader(
        world.images, VIEWS, side_px=model.image_size_px, num_views=num_views, seed=0
    )
    return Batch(
        rows=rows,
        images=torch.from_numpy(loader.load(0, rows)),
        tokens=torch.from_numpy(world.tokens.padded(rows)),
    )


def gradients_of(world: World, accumulate: int, *, num_views: int = 1, objective=None):
    trainer = world.trainer(
        training(accumulate=accumulate), num_views=num_views, objective=objective
    )
    trainer.model.train()
    report = trainer.gradient.backward(batch_of(world, num_views=num_views))
    gradients = {
        name: parameter.grad
        for name, parameter in trainer.modules.named_parameters()
        if parameter.requires_grad
    }
    return gradients, {name: value.item() for name, value in report.items()}


class HeadOverTwoViews(torch.nn.Module):
    """A term with a weight of its own that compares two views."""

    needs = Needs(image_views=2)

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(24, 24)
        torch.nn.init.eye_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    def forward(self, step: Step) -> torch.Tensor:
        return (self.head(step.unit_images(0)) - step.unit_images(1)).square().sum()


@pytest.mark.parametrize("accumulate", [2, 3, 4, 6])
@pytest.mark.parametrize(
    "objective",
    [
        objective_of("symmetric"),
        objective_of("image_to_text", uniformity_weight=0.5, covariance_weight=0.1),
        objective_of("siglip"),
    ],
    ids=["symmetric", "diverse", "siglip"],
)
def test_batch_in_parts_has_the_gradient_of_the_whole(world, accumulate, objective):
    whole, report = gradients_of(world, 1, objective=objective)
    in_parts, report_in_parts = gradients_of(world, accumulate, objective=objective)

    assert report == pytest.approx(report_in_parts, rel=1e-5)
    largest = max(gradient.abs().max() for gradient in whole.values())
    for name in whole:
        assert torch.allclose(whole[name], in_parts[name], rtol=1e-4, atol=1e-5 * largest), name


def test_batch_in_parts_has_the_gradient_of_the_whole_for_views_and_heads(world):
    def gradients(accumulate: int) -> dict[str, torch.Tensor]:
        terms = {"views": (0.5, HeadOverTwoViews()), "pairs": (1.0, Symmetric())}
        return gradients_of(world, accumulate, num_views=2, objective=Objective(terms))[0]

    whole, in_parts = gradients(1), gradients(3)

    assert whole["heads.views.head.weight"].abs().sum() > 0
    largest = max(gradient.abs().max() for gradient in whole.values())
    for name in whole:
        assert torch.allclose(whole[name], in_parts[name], rtol=1e-4, atol=1e-5 * largest), name


def test_parts_trained_on_their_own_would_have_another_gradient(world):
    # what a mean over parts would be: each pair then has only its part as negatives
    whole, _ = gradients_of(world, 1)
    trainer = world.trainer(training())
    batch = batch_of(world)
    for half in (slice(0, 3), slice(3, 6)):
        trainer.gradient.backward(
            Batch(rows=batch.rows[half], images=batch.images[:, half], tokens=batch.tokens[half])
        )

    naive = trainer.model.text_tower.projection.weight.grad / 2

    difference = (naive - whole["model.text_tower.projection.weight"]).norm() / naive.norm()
    assert difference > 0.05


def test_batch_norms_count_a_batch_in_parts_once(world, resnet):
    world.model = resnet
    trainer = world.trainer(training(accumulate=2))
    batch = batch_of(world, size=8)
    each_part_once = copy.deepcopy(resnet).train()
    with torch.no_grad():
        for half in batch.images.tensor_split(2, dim=1):
            each_part_once.image_features(half[0])

    trainer.model.train()
    trainer.gradient.backward(batch)

    name = "image_tower.trunk.bn1.running_mean"
    assert torch.equal(each_part_once.state_dict()[name], trainer.model.state_dict()[name])
    norms = [m for m in trainer.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {0.1} == {norm.momentum for norm in norms}  # put back as it was


def test_parts_run_a_second_time_drop_what_they_dropped_the_first_time(world):
    for tower in (world.model.image_tower, world.model.text_tower):
        tower.projection = torch.nn.Sequential(torch.nn.Dropout(0.5), tower.projection)
    torch.manual_seed(3)
    gradients, _ = gradients_of(world, 2)
    next_draw = torch.rand(1)

    model, batch = copy.deepcopy(world.model).train(), batch_of(world)
    torch.manual_seed(3)
    parts = []
    for images, tokens in zip(batch.images[0].split(3), batch.tokens.split(3), strict=True):
        image = model.image_tower.projection(model.image_features(images))  # draws first
        parts.append((image, model.text_tower.projection(model.text_features(tokens))))
    images, texts = (torch.cat(of_parts) for of_parts in zip(*parts, strict=True))
    step = Step(
        image_embeddings=images[None],
        text_embeddings=texts,
        temperature=model.temperature,
    )
    objective_of("symmetric")(step)[0].backward()

    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, gradients[f"model.{name}"], atol=1e-5), name
    assert torch.rand(1) == next_draw


def test_frozen_features_in_parts_have_the_gradient_of_the_whole(world, tmp_path):
    world.model.freeze(["image_tower.trunk"])
    gradients = []
    for accumulate in (1, 3):
        model = copy.deepcopy(world.model)
        source = FrozenFeatures(
            model,
            world.images,
            folder=tmp_path / str(accumulate),
            device=CPU,
            batch_size=4,
            num_threads=1,
        )
        settings = training(accumulate=accumulate)
        trainer = Trainer(
            model, objective_of("symmetric"), source, world.tokens, settings, device=CPU
        )
        rows = np.arange(6)
        (images,) = source.inputs([(0, rows)])
        tokens = torch.from_numpy(world.tokens.padded(rows))
        trainer.gradient.backward(Batch(rows=rows, images=images, tokens=tokens))
        gradients.append(model.image_tower.projection.weight.grad)

    assert torch.allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


def test_wholly_frozen_tower_can_be_trained_against_in_parts(world):
    world.model.freeze(["image_tower"])

    gradients, _ = gradients_of(world, 2)

    assert gradients["model.text_tower.projection.weight"].abs().sum() > 0
