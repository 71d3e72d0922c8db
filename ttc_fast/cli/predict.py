"""The command ``ttc-fast predict``."""

from __future__ import annotations

import json
from dataclasses import asdict

from ..experiments.training_config import PredictConfig


def main(config: PredictConfig) -> None:
    """Predict, write and print.

    Args:
        config: the settings.

    Raises:
        ValueError, TypeError, OSError: with a message for the user.
    """
    from ..experiments import files
    from ..experiments.prediction import predict
    from . import console

    files.check_outputs({"json": config.json}, {"model": [config.model]})
    found = predict(config)
    count = config.prompts
    means = {name: each.mean(1).tolist() for name, each in found.errors.items()}
    spread = {
        name: (each.var(1, correction=min(count - 1, 1)) / count).sqrt().tolist() for name, each in found.errors.items()
    }
    if config.json is not None:
        records = [
            {"examples": i, "predictor": name, "squared_error": means[name][k], "standard_error": spread[name][k]}
            for k, i in enumerate(found.examples)
            for name in means
        ]
        settings = {name: str(value) if hasattr(value, "parts") else value for name, value in asdict(config).items()}
        files.write(config.json, json.dumps({"model": found.model, "config": settings, "records": records}, indent=1))
    rows = [
        [str(i), *(console.with_error(means[name][k], spread[name][k]) for name in means)]
        for k, i in enumerate(found.examples)
    ]
    console.show(
        f"{found.model}, task {config.task}: squared error of the prediction of y, a mean over {count:,} prompts\n"
        + console.aligned(["examples", "transformer", "least squares", "zero"], rows)
    )
