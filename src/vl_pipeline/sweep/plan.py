"""What a sweep runs: strategies, values of a parameter, and seeds, multiplied out into cells."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, MinLen
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as parameters

from vl_pipeline.data.paths import OptionalInput
from vl_pipeline.errors import ParameterError
from vl_pipeline.method import Method
from vl_pipeline.methods import all_methods
from vl_pipeline.models.towers import DualEncoderConfig
from vl_pipeline.training.loop import Training
from vl_pipeline.training.run import Recipe

OWN_BLOCKS = ("curation", "schedule", "objective")
SHARED_BLOCKS = ("model", "training")

_SAME_FOR_ALL = {
    "training.num_steps": "every cell sees equally many pairs",
    "training.batch_size": "every cell sees equally many pairs",
    "training.validate_every": "cit_sweep.validate_every says it",
    "model.name": "all cells share what embed made",
    "model.pretrained": "all cells share what embed made",
    "model.text_encoder": "all cells share what embed made",
}

Blocks = Mapping[str, Mapping[str, Any]]
"""Parameters by block: those of each method under its name, and the shared ones."""


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Strategy:
    """One way of choosing pairs that is compared.

    Attributes:
        method: Whose parameters it starts from.
        vary: The parameter that takes each of `values`, below the method or below `model` or
            `training`, such as `curation.threshold`; null for a strategy of one value.
        values: What `vary` takes.
        set: Other parameters that differ from the method's, by name.
    """

    method: str
    vary: str | None = None
    values: tuple[float, ...] = ()
    set: dict[str, Any] = Field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.vary is None) == bool(self.values):
            raise ParameterError(
                f"strategy of {self.method}: `vary` names the parameter that takes `values`; "
                f"give both or neither"
            )


@parameters(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Sweep:
    """Everything that is compared; each cell sees training.num_steps * training.batch_size pairs.

    Attributes:
        strategies: By the name that tables and figures give them.
        reference: The strategy whose final accuracy the others are timed against.
        seeds: Of weights, orders, views and random draws; each cell runs once for each.
        validate_every: Steps between validations, from which pairs seen to an accuracy are read.
        pair_scores: What the stage score wrote, for strategies that ask how well image and caption
            agree.
    """

    strategies: Annotated[dict[str, Strategy], MinLen(1)]
    reference: str
    seeds: Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)]
    validate_every: Annotated[int, Ge(1)]
    pair_scores: OptionalInput = None

    def __post_init__(self) -> None:
        if self.reference not in self.strategies:
            raise ParameterError(
                f"cit_sweep.reference is '{self.reference}'; it names one of the strategies, "
                f"{', '.join(self.strategies)}"
            )
        if len(set(self.seeds)) < len(self.seeds):
            raise ParameterError(f"cit_sweep.seeds names a seed twice: {list(self.seeds)}")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training of a sweep.

    Attributes:
        strategy: Its name.
        value: Of the parameter that the strategy varies; None for one of a single value.
        seed: See `Sweep.seeds`.
        recipe: What is trained.
        blocks: The parameters it came from, by block.
    """

    strategy: str
    value: float | None
    seed: int
    recipe: Recipe
    blocks: dict[str, Any]


def blocks_of(own: Mapping[str, Any], **shared: Any) -> dict[str, dict[str, Any]]:
    """Turn parameters that were built already into plain values again, to be changed by name.

    Args:
        own: Blocks of methods, called `<method>.<block>`.
        shared: The shared ones, by name.
    """
    blocks: dict[str, dict[str, Any]] = {name: _plain(value) for name, value in shared.items()}
    for name, value in own.items():
        method, _, block = name.partition(".")
        blocks.setdefault(method, {})[block] = _plain(value)
    return blocks


def plan_cells(sweep: Sweep, blocks: Blocks) -> list[Cell]:
    """Multiply a sweep out, seed by seed, so that one that is cut short compares what it has.

    Raises:
        ParameterError: If a strategy names a method or a parameter that does not exist, or a value
            is refused; the strategy is named.
    """
    methods = {name: _method_of(sweep, name) for name in sweep.strategies}
    return [
        _cell(sweep, name, methods[name], blocks, seed=seed, value=value)
        for seed in sweep.seeds
        for name, strategy in sweep.strategies.items()
        for value in strategy.values or (None,)
    ]


def _method_of(sweep: Sweep, name: str) -> Method:
    """The method that a strategy starts from, if a sweep can compare it."""
    methods = {method.name: method for method in all_methods()}
    comparable = [n for n, method in methods.items() if not (method.own or method.needs_counts)]
    wanted = sweep.strategies[name].method
    if wanted not in comparable:
        why = f"there is no method '{wanted}'"
        if wanted in methods:
            why = f"{wanted} has blocks or a pool of its own and cannot be compared in a sweep"
        raise ParameterError(
            f"cit_sweep.strategies.{name}: {why}; there are {', '.join(comparable)}"
        )
    if methods[wanted].needs_pair_scores and sweep.pair_scores is None:
        raise ParameterError(
            f"cit_sweep.strategies.{name}: {wanted} asks how well image and caption agree; run "
            f"`kedro run --pipelines score` and set cit_sweep.pair_scores to "
            f"data/04_feature/pair_scores"
        )
    return methods[wanted]


def _cell(
    sweep: Sweep, name: str, method: Method, blocks: Blocks, *, seed: int, value: float | None
) -> Cell:
    strategy = sweep.strategies[name]
    own: dict[str, Any] = {key: deepcopy(blocks[method.name][key]) for key in OWN_BLOCKS}
    own |= {key: deepcopy(blocks[key]) for key in SHARED_BLOCKS}
    changes = dict(strategy.set)
    if strategy.vary is not None:
        changes[strategy.vary] = value
    for path, wanted in changes.items():
        _set(own, path, wanted, where=f"cit_sweep.strategies.{name}")
    own["training"] |= {"seed": seed, "validate_every": sweep.validate_every}
    _reseed(own["curation"], seed)
    types: dict[str, Any] = {
        "curation": method.curator,
        "schedule": method.schedule,
        "objective": method.objective,
        "model": DualEncoderConfig,
        "training": Training,
    }
    try:
        built = {key: TypeAdapter(types[key]).validate_python(own[key]) for key in types}
    except ValidationError as error:
        raise ParameterError(
            f"cit_sweep.strategies.{name}, {', '.join(f'{k}={v}' for k, v in changes.items())}: "
            f"{error}"
        ) from error
    recipe = Recipe(
        name=method.name,
        curator=built["curation"],
        schedule=built["schedule"],
        objective=built["objective"],
        frozen=method.frozen,
        model=built["model"],
        training=built["training"],
    )
    return Cell(strategy=name, value=value, seed=seed, recipe=recipe, blocks=own)


def _plain(value: Any) -> Any:
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def _set(blocks: dict[str, Any], path: str, value: Any, *, where: str) -> None:
    """Set a parameter that exists and may differ between cells; in place."""
    *parents, last = path.split(".")
    why = "cit_sweep.seeds says which" if last == "seed" else _SAME_FOR_ALL.get(path)
    if why:
        raise ParameterError(f"{where}: '{path}' cannot differ: {why}")
    inner: Any = blocks
    for part in parents:
        inner = inner.get(part) if isinstance(inner, dict) else None
    if not parents or not isinstance(inner, dict) or last not in inner:
        raise ParameterError(
            f"{where}: there is no parameter '{path}'; it starts with one of "
            f"{', '.join([*OWN_BLOCKS, *SHARED_BLOCKS])} and is spelled as in conf/base"
        )
    inner[last] = value


def _reseed(block: dict[str, Any], seed: int) -> None:
    """Give every draw of a curator the cell's seed; in place."""
    for key, value in block.items():
        if key == "seed":
            block[key] = seed
        elif isinstance(value, dict):
            _reseed(value, seed)
