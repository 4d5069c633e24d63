import threading

import pytest

from vl_pipeline.training.overlap import Ahead


def test_work_goes_on_while_the_block_runs():
    may_end = threading.Event()

    with Ahead(lambda _: may_end.wait(10)) as ahead:
        may_end.set()  # would never be reached, were the work done first

        assert ahead.result()


def test_error_of_the_work_is_raised_where_the_result_is_asked_for():
    def fail(_) -> None:
        raise LookupError("gone")

    with Ahead(fail) as ahead, pytest.raises(LookupError, match="gone"):
        ahead.result()


def test_error_that_nobody_asks_for_is_not_raised():
    def fail(_) -> None:
        raise LookupError("gone")

    with Ahead(fail):
        pass


def test_leaving_the_block_ends_the_work():
    num_before = threading.active_count()
    started = threading.Event()

    def never_done(go_on) -> None:
        while True:
            started.set()
            go_on()

    with pytest.raises(KeyError), Ahead(never_done):
        started.wait(10)
        raise KeyError

    assert num_before == threading.active_count()
