"""A run that is asked to stop stops in order: nothing half-written, and MLflow knows."""

import signal
import threading
from types import FrameType

from kedro.framework.hooks import hook_impl

_REQUESTS = (signal.SIGTERM, signal.SIGHUP)


class InterruptionHooks:
    """Lets SIGTERM and SIGHUP end a run as Ctrl-C does: clean-up on the way out is done."""

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self) -> None:
        """Take the signals that nobody else has taken; the second one kills as always."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _REQUESTS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _end)

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Give the signals back."""
        _give_back()

    @hook_impl(trylast=True)
    def on_pipeline_error(self) -> None:
        """Give the signals back."""
        _give_back()


def _give_back() -> None:
    for number in _REQUESTS:
        if signal.getsignal(number) is _end:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise SystemExit(128 + number)  # as a shell reports a signal
