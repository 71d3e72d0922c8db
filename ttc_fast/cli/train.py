"""The command ``ttc-fast train``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from ..experiments.training_config import TrainCommand


def main(config: TrainCommand) -> None:
    """Train, telling of every evaluation, and write.

    Args:
        config: the settings.

    Raises:
        ValueError, TypeError, OSError: with a message for the user.
    """
    from ..experiments.grid import study_file
    from ..experiments.training import load_training, run_training, with_tasks
    from ..models.train import CURVE, MODEL
    from . import console

    study = with_tasks(load_training(study_file(config.study)), config.train_task, config.task)
    began = time.monotonic()
    first: list[float] = []

    def watch(line: Mapping[str, float]) -> None:
        # The first evaluation of this go tells how long one takes; the rest of the time is in proportion.
        done = line["iteration"]
        first.append(done)
        each = (time.monotonic() - began) / (done - first[0] + study.config.evaluate_every)
        left = each * (study.config.iterations - done)
        console.notice(
            f"iteration {done:,.0f} of {study.config.iterations:,}: loss {line['loss']:.4g}, held out "
            f"{line['held_out']:.4g}, {left:,.0f} s left"
        )

    found = run_training(study, config.out, watch=None if config.quiet else watch)
    if not config.quiet:
        last = found.curve[-1]
        console.show(
            f"{found.model!r} after {found.iterations:,} iterations: held-out loss {last['held_out']:.4g}\n"
            f"{Path(config.out) / MODEL}: ttc-fast run --model takes it; {Path(config.out) / CURVE}: its curve"
        )
