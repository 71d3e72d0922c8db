"""Sweeps of ``ttc-fast fit``: a fit is one unit, whose figures are the forecasts of every prompt."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_type_hints

from ..estimators.table import Table
from ..logs.table import forecast_table
from ..numerics.progress import ignore
from .log_config import FitConfig, fitted, read_log
from .shards import digest_of_file
from .sweepable import Cost, Sweepable, Work

_OUTPUT = ("greedy", "token_price", "verifier_price", "right_worth", "simulate", "json", "save", "plot", "quiet")
"""What is told beside the forecasts, and where."""


class Fits(Sweepable):
    """``[fit]``: any setting of ``ttc-fast fit`` that decides its forecasts."""

    output: Collection[str] = _OUTPUT
    unit = "fits"
    metrics: tuple[str, ...] = ("pass@k", "maj@k", "best@k")
    units: Mapping[str, str] = {"steps": "1", "samples": "samples of a prompt", "prompt": "place in the log"}
    independent = False

    def hints(self) -> Mapping[str, Any]:
        return {name: hint for name, hint in get_type_hints(FitConfig).items() if name not in _OUTPUT}

    def config(self, given: Mapping[str, Any]) -> FitConfig:
        lists = ("files", "field", "budgets")
        settings: dict[str, Any] = {n: (v,) if n in lists and not isinstance(v, tuple) else v for n, v in given.items()}
        if not settings.get("files"):
            raise ValueError("fit: expected files = [...], the logs, got none")
        return FitConfig(**settings)

    def work(self, config: FitConfig) -> Work:
        settings = {name: value for name, value in asdict(config).items() if name not in _OUTPUT}
        settings["files"] = [digest_of_file(path) for path in config.files]
        settings["gold"] = None if config.gold is None else digest_of_file(config.gold)
        kind = (*settings["files"], config.first, json.dumps(config.budgets))
        return Work(config, json.loads(json.dumps(settings)), kind=kind)

    def compute(self, config: FitConfig, start: int, stop: int, place: Path) -> Table:
        return forecast_table(fitted(config, read_log(config, ignore), ignore))

    def measured(self, work: Work) -> Cost:
        """From two and from twelve of the random weights of the intervals."""
        began = time.perf_counter()
        log = read_log(work.config, ignore)
        table = forecast_table(fitted(work.config, log, ignore, resamples=2))
        few = time.perf_counter()
        fitted(work.config, log, ignore, resamples=12)
        slope = max(time.perf_counter() - few - (few - began), 0.0) / 10
        return Cost(few - began + slope * 200, 8.0 * table.values.size, table.values.size)
