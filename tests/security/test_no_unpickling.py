"""No module of the package unpickles, evaluates or otherwise runs what it reads."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.projects import ROOT

FORBIDDEN_MODULES = {"pickle", "_pickle", "marshal", "shelve", "joblib", "dill", "cloudpickle"}
FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen"),
    *("torch.load", "torch.jit.load", "torch.package.PackageImporter", "torch.hub.load"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "yaml.Loader"),
    *("pandas.read_pickle", "pd.read_pickle", "numpy.loads", "wds.WebDataset"),
}
ALLOWED_ARGUMENTS = {"allow_pickle": False, "weights_only": True, "shell": False}


def dangers_in(source: str) -> list[str]:
    """Name what a source does that could run code from a file, with its line."""
    return [f"{node.lineno}: {what}" for node, what in _found(ast.parse(source))]


def _found(tree: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {alias.name.split(".")[0] for alias in node.names}
            yield from ((node, f"import {name}") for name in names & FORBIDDEN_MODULES)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module.split(".")[0] in FORBIDDEN_MODULES:
                yield node, f"from {module}"
            names = {f"{module}.{alias.name}" for alias in node.names}
            yield from ((node, f"from {name}") for name in names & FORBIDDEN_CALLS)
        elif isinstance(node, ast.Call):
            if ast.unparse(node.func) in FORBIDDEN_CALLS:
                yield node, ast.unparse(node.func)
            for word in node.keywords:
                allowed = ALLOWED_ARGUMENTS.get(word.arg or "", ...)
                value = word.value.value if isinstance(word.value, ast.Constant) else None
                if allowed is not ... and value is not allowed:
                    yield node, f"{word.arg}={ast.unparse(word.value)}"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "src").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT / "src"))
)
def test_a_module_runs_nothing_that_it_reads(path: Path) -> None:
    assert dangers_in(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "from torch import load",
        "def f():\n    import cloudpickle",
        "torch.load(path, weights_only=True)",
        "torch.jit.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "yaml.load(text, Loader=yaml.Loader)",
        "from yaml import unsafe_load",
        "create_model(name, weights_only=False)",
        "subprocess.run(command, shell=True)",
        "eval(text)",
    ],
)
def test_each_danger_is_seen(source: str) -> None:
    assert dangers_in(source) != []


def test_what_is_safe_is_left_alone() -> None:
    safe = "np.load(p, allow_pickle=False); yaml.safe_load(t); model.eval(); re.compile('a')"

    assert dangers_in(safe) == []
