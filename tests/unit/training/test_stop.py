"""Signals: the first is remembered, the second acts, and nothing stays behind."""

import os
import signal
from collections.abc import Iterator

import pytest

from vsalt.errors import VsaltError
from vsalt.training.stop import InterruptedRunError, StopFlag, in_stage

BOTH = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture(autouse=True)
def interrupts_as_usual() -> Iterator[None]:
    """A shell that starts the tests in the background lets them ignore interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_first_signal_is_remembered(number: signal.Signals, code: int) -> None:
    before = [signal.getsignal(each) for each in BOTH]
    with StopFlag().listen() as stop:
        assert stop.number is None
        os.kill(os.getpid(), number)
        assert stop.number == number
        # From here on a signal of either kind does what it did before.
        assert [signal.getsignal(each) for each in BOTH] == before
    assert [signal.getsignal(each) for each in BOTH] == before
    error = InterruptedRunError(stop.number, "stopped")
    assert error.exit_code == code
    assert isinstance(error, VsaltError)


def test_a_second_interrupt_is_not_held_back() -> None:
    with pytest.raises(KeyboardInterrupt), StopFlag().listen() as stop:  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.number == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGINT)


def test_handlers_come_back_after_an_error() -> None:
    before = [signal.getsignal(each) for each in BOTH]
    with pytest.raises(RuntimeError), StopFlag().listen():
        raise RuntimeError
    assert [signal.getsignal(each) for each in BOTH] == before


def test_only_a_stage_of_several_has_a_name() -> None:
    assert in_stage("student") == " in the student"
    assert in_stage("pixel") == in_stage("stage") == ""
