"""The methods, one file each; a new one is a new file here and a parameter file."""

from importlib import import_module
from pkgutil import iter_modules

from vl_pipeline.method import Method


def all_methods() -> list[Method]:
    """Collect the `METHOD` of every module in this package, by name."""
    modules = (import_module(f"{__name__}.{info.name}") for info in iter_modules(__path__))
    return sorted((module.METHOD for module in modules), key=lambda method: method.name)
