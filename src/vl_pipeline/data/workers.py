"""Worker processes, which a killed parent must not leave behind."""

import multiprocessing
import multiprocessing.process
import os
import threading


def end_with_parent() -> None:
    """Have this worker process end when the process that started it does, however that ends.

    A killed parent tells its workers nothing, and they would go on to the end of their unit, or
    wait for the next one for ever.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
