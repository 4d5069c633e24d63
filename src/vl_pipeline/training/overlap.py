"""Do one thing in a thread while the caller does another."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

Result = TypeVar("Result")


class AbandonedError(Exception):
    """Raised in the thread, and seen nowhere else, once nobody waits for its result any more."""


class Ahead(Generic[Result]):
    """Work that is under way while a `with` block runs; leaving the block early abandons it.

    The work is given a function to call now and then, which ends it when it has been abandoned.
    """

    def __init__(self, work: Callable[[Callable[[], None]], Result]) -> None:
        """Take the work; it starts with the block."""
        self._work = work
        self._abandoned = threading.Event()
        self._results: list[Result] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="curate-ahead", daemon=True)

    def __enter__(self) -> "Ahead[Result]":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._abandoned.set()
        self._thread.join()

    def result(self) -> Result:
        """Wait for the work, and give its result or raise its error."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._work(self._go_on))
        except BaseException as error:  # raised where the result is asked for
            self._error = error

    def _go_on(self) -> None:
        if self._abandoned.is_set():
            raise AbandonedError
