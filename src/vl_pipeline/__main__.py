"""`python -m vl_pipeline` is `kedro run` in this project."""

from pathlib import Path

from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project


def main() -> None:
    """Run Kedro's command line for this package."""
    configure_project(Path(__file__).parent.name)
    find_run_command(Path(__file__).parent.name)()


if __name__ == "__main__":
    main()
