"""A file of `conf/` that cannot be read is refused with its name, the line and what to do."""

from collections.abc import Iterator
from glob import glob
from pathlib import Path
from typing import Any

import yaml
from kedro.config import OmegaConfigLoader
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException, UnsupportedValueType

from vl_pipeline.errors import ParameterError

_FAILURES = (
    yaml.YAMLError,
    OmegaConfBaseException,
    UnicodeError,
    OSError,  # OmegaConf's for a file that is one number, too
    AttributeError,  # Kedro's for a list: it takes each file for a mapping
)
_PLAIN = "write numbers, texts, lists and mappings, each name once and no tags (!!...)"
_SYNTAX = "correct it: close brackets and quotes, indent by spaces"
_FORM = "save it as UTF-8 text of `name: value` lines"
_VALUE = (
    "write the value itself, or in ${...} a name that stands in the same folder of conf/ "
    "(parameters cannot read the environment)"
)


class ConfigLoader(OmegaConfigLoader):
    """Loads as Kedro does; only after a failure are files read again, to find the one at fault."""

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Load the files of one kind, such as `parameters`.

        Raises:
            ParameterError: If one is no YAML of plain values, or a `${...}` in it has no value.
        """
        try:
            return super().__getitem__(key)
        except _FAILURES as error:
            files = self._files(key)
            for file in files:
                if fault := _fault(file):
                    raise ParameterError(f"{file}{fault}") from error
            if isinstance(error, OmegaConfBaseException) and error.full_key:
                raise ParameterError(_unresolved(error, files)) from error
            raise

    def _files(self, key: str) -> list[Path]:
        """Find what Kedro reads; `base` comes last, as the other folder overrides it."""
        folders = dict.fromkeys((self.env or self.default_run_env, self.base_env))
        return [
            file
            for folder in (Path(self.conf_source, name) for name in folders)
            for pattern in self.config_patterns[key]
            for file in map(folder.joinpath, sorted(glob(pattern, root_dir=folder, recursive=True)))
            if file.suffix in {".yml", ".yaml", ".json"}
        ]


def _fault(file: Path) -> str | None:
    """Say where and why a file by itself is no YAML of named values, if it is not."""
    try:
        content = OmegaConf.load(file)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        since = f" that starts in line {error.context_mark.line + 1}" if error.context_mark else ""
        context = f"{error.context}{since}, " if error.context else ""
        problem = str(error.problem).replace("tag:yaml.org,2002:", "!!")
        is_value = isinstance(error, yaml.constructor.ConstructorError)
        return f"{line}: {context}{problem}; {_PLAIN if is_value else _SYNTAX}"
    except OmegaConfBaseException:
        return None  # one value, which is found by its name
    except (yaml.YAMLError, UnicodeError, OSError) as error:
        return f": {str(error).splitlines()[0]}; {_FORM}"
    return None if isinstance(content, DictConfig) else f" holds a list; {_FORM}"


def _unresolved(error: OmegaConfBaseException, files: list[Path]) -> str:
    """Say which value has no meaning, and where it stands."""
    places = (
        f"{file}, line {node.start_mark.line + 1}"
        for file in files
        for name, node in _named(yaml.compose(file.read_text("utf-8"), Loader=yaml.SafeLoader))
        if name == error.full_key
        and ("${" in node.value or isinstance(error, UnsupportedValueType))
    )
    reason = str(error).splitlines()[0]
    return f"{next(places, '--params')}: {error.full_key} has no value ({reason}); {_VALUE}"


def _named(node: yaml.Node | None, name: str = "") -> Iterator[tuple[str, Any]]:
    """Give each value in a file with the name that OmegaConf gives it, such as `a.b[0]`."""
    yield name, node
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _named(value, f"{name}.{key.value}" if name else key.value)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _named(value, f"{name}[{index}]")
