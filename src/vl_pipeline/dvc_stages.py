"""Write `dvc.yaml` from what Kedro knows: the pipelines, the catalog and the imports.

    python -m vl_pipeline.dvc_stages

One DVC stage per Kedro stage, and per method where the stage belongs to one. Its dependencies are
the stage's free inputs, the folders its parameters name, and every module of the package that its
nodes import, directly or not. A test holds the committed files against this.

Sweeps have a file in a folder of their own: they depend on the numbers of every method, and
`dvc repro` without a name runs the stages of the file where it is called, and no others.
"""

from collections.abc import Mapping
from functools import reduce
from inspect import getclosurevars, signature
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from vl_pipeline.data.paths import WatchedByDvc
from vl_pipeline.datasets.files import dataset_named

PACKAGE = "vl_pipeline"
DATASETS = "vl_pipeline.datasets"
METHODS = "vl_pipeline.methods"
TOWERS = Path("src/vl_pipeline/models/configs")
MAIN = Path("dvc.yaml")
ELSEWHERE = {"cit_sweep": Path("sweeps/dvc.yaml")}
"""Pipelines whose stages `dvc repro` runs only when it is asked for them."""


def write_dvc_files(project: Path) -> dict[Path, str]:
    """Give the text of each `dvc.yaml` of the project at `project`, by its path below it."""
    bootstrap_project(project)
    from kedro.framework.project import pipelines

    with KedroSession.create(project_path=project, env="base") as session:
        catalog = session.load_context().catalog  # pyright: ignore[reportAttributeAccessIssue]
    tracked = _tracked(dict(pipelines), catalog)
    parts: dict[Path, dict[str, Pipeline]] = {MAIN: {}}
    for name, pipeline in tracked.items():
        parts.setdefault(ELSEWHERE.get(name, MAIN), {})[name] = pipeline
    return {file: _text(file, part, catalog, project) for file, part in parts.items()}


def _text(
    file: Path, pipelines: Mapping[str, Pipeline], catalog: CatalogProtocol, project: Path
) -> str:
    files = _parameter_files(project)
    up = Path(*[".."] * len(file.parent.parts))
    stages: dict[str, Any] = {}
    plots: list[dict[str, Any]] = []
    for name, (command, pipeline) in _stages(pipelines).items():
        stage, stage_plots = _stage(command, pipeline, catalog, files, project)
        stages[name] = stage if file == MAIN else {"wdir": str(up), **stage}
        plots += stage_plots
    named = {d[2:].split(".")[0] for s in stages.values() for d in s["deps"] if d.startswith("${")}
    variables = [str(up / path) for path in sorted({files[key] for key in named})]
    content = {"vars": variables, "stages": stages} | ({"plots": plots} if plots else {})
    text = yaml.safe_dump(content, sort_keys=False, width=100)
    return "# Made by `make dvc` from the Kedro pipelines; edit those instead.\n" + text


def _tracked(pipelines: dict[str, Pipeline], catalog: CatalogProtocol) -> dict[str, Pipeline]:
    """Leave out pipelines that make nothing DVC tracks: they answer questions."""
    return {
        name: pipeline
        for name, pipeline in pipelines.items()
        if any(_dvc(catalog, output) != "untracked" for output in pipeline.all_outputs())
    }


def _stages(pipelines: Mapping[str, Pipeline]) -> dict[str, tuple[str, Pipeline]]:
    """Name to command and nodes of each stage, shared stages first."""
    methods = {
        name: pipeline
        for name, pipeline in pipelines.items()
        if name != "__default__" and any(node.namespace for node in pipeline.nodes)
    }
    stages = {
        name: (f"kedro run --pipelines {name}", pipeline)
        for name, pipeline in pipelines.items()
        if name != "__default__" and name not in methods
    }
    for method, pipeline in methods.items():
        for node in pipeline.nodes:
            if node.namespace:
                command = f"kedro run --pipelines {method} --nodes {node.name}"
                stages[node.name.replace(".", "_")] = (command, Pipeline([node]))
    return stages


def _stage(
    command: str,
    pipeline: Pipeline,
    catalog: CatalogProtocol,
    files: dict[str, str],
    project: Path,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    parameters = sorted(n[7:] for n in pipeline.inputs() if n.startswith("params:"))
    inputs = sorted(n for n in pipeline.inputs() if not n.startswith("params:"))
    dependencies = {
        *(_path(catalog, name, project) for name in inputs if _dvc(catalog, name) != "untracked"),
        *_watched(pipeline, project),
        *_code(pipeline, project),
    }
    by_file: dict[str, list[str]] = {}
    for key in parameters:
        by_file.setdefault(files[key.split(".")[0]], []).append(key)
    outputs: list[str] = []
    metrics: list[str] = []
    plots: list[dict[str, Any]] = []
    for name in sorted(pipeline.all_outputs()):
        path, role = _path(catalog, name, project), _dvc(catalog, name)
        (metrics if role == "metrics" else outputs).append(path)
        if isinstance(role, dict):
            plots.append(_plot(name, path, role["plot"]))
    stage = {
        "cmd": command,
        "deps": sorted(dependencies),
        "params": [{file: keys} for file, keys in sorted(by_file.items())],
        "outs": outputs,
    }
    return stage | ({"metrics": metrics} if metrics else {}), plots


def _plot(name: str, path: str, axes: dict[str, str]) -> dict[str, Any]:
    title = f"{axes['title']} ({name.partition('.')[0]})"
    return {title: {"x": axes["x"], "y": {path: axes["y"]}, "title": title}}


def _path(catalog: CatalogProtocol, name: str, project: Path) -> str:
    path = dataset_named(catalog, name).path
    return str(path.relative_to(project) if path.is_absolute() else path)


def _dvc(catalog: CatalogProtocol, name: str) -> Any:
    return dataset_named(catalog, name).metadata.get("dvc")


def _watched(pipeline: Pipeline, project: Path) -> set[str]:
    """Give `${pool.folder}` and its like: folders and files that the stage's parameters name."""
    values = _parameters(project)
    return {
        f"${{{dataset[7:]}.{field}}}"
        for node in pipeline.nodes
        for dataset, annotation in _annotated_inputs(node)
        if dataset.startswith("params:") and isinstance(annotation, type)
        for field in _watched_fields(annotation)
        if _at(values, dataset[7:])[field] is not None
    }


def _at(values: dict[str, Any], key: str) -> Any:
    """Look up `cit.curation`, and its like, in nested values."""
    return reduce(lambda inner, part: inner[part], key.split("."), values)


def _watched_fields(annotation: type) -> list[str]:
    return [
        field
        for field, hint in get_type_hints(annotation, include_extras=True).items()
        if any(isinstance(mark, WatchedByDvc) for mark in getattr(hint, "__metadata__", ()))
    ]


def _annotated_inputs(node: Node) -> list[tuple[str, Any]]:
    hints = get_type_hints(node.func)
    bound = signature(node.func).bind(*_positional(node), **_named(node))
    named = {n: (d, hints.get(n)) for n, d in bound.arguments.items() if isinstance(d, str)}
    collected = [d for value in bound.arguments.values() if isinstance(value, dict) for d in value]
    return [*named.values(), *((_named(node)[key], None) for key in collected)]


def _positional(node: Node) -> list[str]:
    return [] if isinstance(node._inputs, dict) else node.inputs


def _named(node: Node) -> dict[str, str]:
    return node._inputs if isinstance(node._inputs, dict) else {}


def _code(pipeline: Pipeline, project: Path) -> set[str]:
    """Files of the package that the stage's nodes import, directly or not."""
    import grimp

    graph = grimp.build_graph(PACKAGE)
    modules = {DATASETS, *(node.func.__module__ for node in pipeline.nodes)}
    # What a node was built around (a method's value, and the classes it names) is not among its
    # module's imports.
    methods = (getclosurevars(node.func).nonlocals.get("method") for node in pipeline.nodes)
    modules |= {f"{PACKAGE}.methods.{method.name}" for method in methods if method is not None}
    hints = {hint for node in pipeline.nodes for _, hint in _annotated_inputs(node)}
    modules |= {hint.__module__ for hint in hints if _is_ours(hint)}
    closure = modules.union(*(graph.find_upstream_modules(module) for module in modules))
    if METHODS in closure:  # which imports its modules by the names of their files
        every = graph.find_descendants(METHODS)
        closure = closure.union(every, *(graph.find_upstream_modules(module) for module in every))
    towers = {str(p.relative_to(project)) for p in (project / TOWERS).rglob("*.json")}
    uses_towers = f"{PACKAGE}.models.towers" in closure
    return {_file_of(module, project) for module in closure} | (towers if uses_towers else set())


def _is_ours(hint: Any) -> bool:
    return isinstance(hint, type) and hint.__module__.startswith(f"{PACKAGE}.")


def _file_of(module: str, project: Path) -> str:
    path = Path("src", *module.split("."))
    file = path / "__init__.py" if (project / path).is_dir() else path.with_suffix(".py")
    return str(file)


def _parameter_files(project: Path) -> dict[str, str]:
    """Top-level parameter to the file of `conf/base` that has it."""
    return {
        key: str(file.relative_to(project))
        for file in _files_of_parameters(project)
        for key in yaml.safe_load(file.read_text())
    }


def _parameters(project: Path) -> dict[str, Any]:
    """Top-level parameter to its value in `conf/base`."""
    files = _files_of_parameters(project)
    return {k: v for file in files for k, v in yaml.safe_load(file.read_text()).items()}


def _files_of_parameters(project: Path) -> list[Path]:
    return sorted((project / "conf/base").glob("parameters*.yml"))


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    for path, written in write_dvc_files(root).items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(written)
