"""Trainers whose log files are closed when the test is over."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support import trainers
from vsalt.training.loop import Trainer


@pytest.fixture
def make_trainer() -> Iterator[Callable[..., Trainer]]:
    """`support.trainers.make_trainer`."""
    made = []

    def make(*args: Any, **kwargs: Any) -> Trainer:
        made.append(trainers.make_trainer(*args, **kwargs))
        return made[-1]

    yield make
    for trainer in made:
        trainer.metrics.close()
        trainer.timings.close()
        trainer.health.alarms.log.close()
