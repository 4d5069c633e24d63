import dataclasses
from copy import deepcopy

import pytest
import yaml

from tests.projects import ROOT
from vl_pipeline.errors import ParameterError
from vl_pipeline.sweep.plan import Strategy, Sweep, plan_cells

BLOCKS = {
    key: value
    for file in (ROOT / "conf/base").glob("parameters_*.yml")
    for key, value in yaml.safe_load(file.read_text()).items()
}


def sweep(seeds=(0,), **strategies) -> Sweep:
    made = {name: Strategy(**settings) for name, settings in strategies.items()}
    return Sweep(strategies=made, reference=next(iter(made)), seeds=seeds, validate_every=5)


def test_each_value_of_each_strategy_runs_once_a_seed_and_seeds_come_in_turn():
    plan = sweep(
        seeds=(3, 7),
        cit={"method": "cit", "vary": "curation.threshold", "values": (0.5, 0.9)},
        all={"method": "clip"},
    )

    cells = plan_cells(plan, BLOCKS)

    assert [(c.strategy, c.value, c.seed) for c in cells] == [
        *(("cit", 0.5, 3), ("cit", 0.9, 3), ("all", None, 3)),
        *(("cit", 0.5, 7), ("cit", 0.9, 7), ("all", None, 7)),
    ]
    assert [c.recipe.curator.threshold for c in cells if c.strategy == "cit"] == [0.5, 0.9] * 2


def test_a_cell_differs_from_its_method_in_what_the_sweep_names_and_in_nothing_else():
    before = deepcopy(BLOCKS)
    plan = sweep(cit={"method": "cit", "set": {"objective.loss": "symmetric"}})

    (cell,) = plan_cells(plan, BLOCKS)

    expected = {block: BLOCKS["cit"][block] for block in ("curation", "schedule", "objective")}
    expected |= {"model": BLOCKS["model"], "training": dict(BLOCKS["training"])}
    expected["objective"] = BLOCKS["cit"]["objective"] | {"loss": "symmetric"}
    expected["training"] |= {"seed": 0, "validate_every": 5}
    assert cell.blocks == expected
    assert before == BLOCKS


def test_a_seed_is_that_of_training_and_of_every_draw_of_the_curator():
    plan = sweep(seeds=(5,), random={"method": "random"}, balanced={"method": "balanced"})

    for cell in plan_cells(plan, BLOCKS):
        assert cell.recipe.training.seed == 5
        assert cell.recipe.curator.seed == 5


def test_all_cells_see_equally_many_pairs():
    cells = plan_cells(sweep(cit={"method": "cit"}, clip={"method": "clip"}), BLOCKS)

    budgets = {(c.recipe.training.num_steps, c.recipe.training.batch_size) for c in cells}
    assert len(budgets) == 1


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ({"method": "cti"}, "no method 'cti'; there are"),
        ({"method": "align"}, "align has blocks .* cannot be compared in a sweep; there are"),
        ({"method": "random", "set": {"curation.seed": 9}}, "cannot differ: cit_sweep.seeds says"),
        (
            {"method": "random", "vary": "curation.seed", "values": (1, 2)},
            "cannot differ: cit_sweep.seeds says",
        ),
        ({"method": "cit", "set": {"training.seed": 9}}, "cannot differ: cit_sweep.seeds says"),
        ({"method": "cit", "set": {"curation.treshold": 1}}, "no parameter 'curation.treshold'"),
        ({"method": "cit", "set": {"curation": 1}}, "no parameter 'curation'"),
        ({"method": "cit", "set": {"threshold": 1}}, "no parameter 'threshold'"),
        ({"method": "cit", "set": {"training.num_steps": 9}}, "cannot differ: every cell sees"),
        ({"method": "cit", "set": {"model.name": "RN50"}}, "cannot differ: all cells share"),
        (
            {"method": "cit", "vary": "curation.threshold", "values": (0.5, 3.0)},
            "curation.threshold=3.0: .*less than or equal to 1",
        ),
        ({"method": "image_text"}, "kedro run --pipelines score"),
    ],
)
def test_a_strategy_that_cannot_run_is_named_with_what_is_wrong(strategy, message):
    with pytest.raises(ParameterError, match=f"(?s)cit_sweep.strategies.it.*{message}"):
        plan_cells(sweep(it=strategy), BLOCKS)


def test_pair_scores_let_strategies_run_that_ask_for_them():
    with_scores = dataclasses.replace(
        sweep(it={"method": "image_text"}), pair_scores="data/04_feature/pair_scores"
    )

    assert plan_cells(with_scores, BLOCKS)[0].recipe.name == "image_text"


@pytest.mark.parametrize("part", [{"vary": "curation.threshold"}, {"values": (0.5,)}])
def test_a_varied_parameter_comes_with_values_and_values_with_a_parameter(part):
    with pytest.raises(ValueError, match="give both or neither"):
        Strategy(method="cit", **part)


def test_the_reference_is_one_of_the_strategies():
    with pytest.raises(ValueError, match="reference is 'clip'; it names one of"):
        Sweep(
            strategies={"cit": Strategy(method="cit")},
            reference="clip",
            seeds=(0,),
            validate_every=1,
        )
