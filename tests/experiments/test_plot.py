"""Pictures of tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.small import SMALL
from ttc_fast import Candidates, RunConfig, Table, plot, run
from ttc_fast.cli.screen import text
from ttc_fast.experiments.plot import COLUMN, draw_run, finish
from ttc_fast.experiments.results import RunResult
from ttc_fast.techniques.base import as_technique
from ttc_fast.techniques.registry import TECHNIQUES, register

figures = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed: pip install -e '.[plot]'")


@pytest.fixture(scope="module")
def result() -> RunResult:
    return run(RunConfig(**{**SMALL, "coefficients": "continuous"}))


@pytest.fixture
def table(result: RunResult) -> Table:
    return result.table


def test_axes_of_the_user(table: Table) -> None:
    axes: Any = figures.Figure().subplots()
    assert plot(table, ax=axes) is axes
    assert axes.get_legend() is None  # the user's figure, the user's legend
    labels = [label for label in (str(line.get_label()) for line in axes.lines) if not label.startswith("_")]
    assert labels == ["greedy", "single", "mean", "best_of_n", "oracle_best_of_n"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("samples", "squared error")


def test_points_are_the_means(table: Table) -> None:
    axes: Any = plot(table, x="samples")
    curve = next(line for line in axes.lines if line.get_label() == "best_of_n")
    wanted = [table["continuous", "best_of_n", 4, k, "squared_error"].mean() for k in (1, 2, 4, 8, 12)]
    assert list(curve.get_xdata()) == [1, 2, 4, 8, 12]
    assert list(curve.get_ydata()) == pytest.approx(wanted)
    greedy = next(line for line in axes.lines if line.get_label() == "greedy")  # a level line from end to end
    assert list(greedy.get_xdata()) == [1, 12]
    axes = plot(table, x="steps")
    steps = next(line for line in axes.lines if line.get_label() == "best_of_n")
    wanted = [table["continuous", "best_of_n", t, 12, "squared_error"].mean() for t in (1, 4)]
    assert list(steps.get_ydata()) == pytest.approx(wanted)


def test_axes_of_its_own_have_a_legend(table: Table) -> None:
    axes: Any = plot(table, metric="prediction_risk")
    assert axes.get_ylabel() == "prediction risk"
    assert axes.get_legend().get_texts()[0].get_text() == "greedy"


def test_both_kinds_are_told_apart() -> None:
    axes = plot(run(RunConfig(**SMALL)).table)
    labels = {line.get_label() for line in axes.lines}
    assert {"mean, continuous", "mean, binary"} <= labels


def test_errors_name_the_argument(table: Table) -> None:
    with pytest.raises(ValueError, match="x: expected one of"):
        plot(table, x="prompts")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match="metric: expected one of"):
        plot(table, metric="hamming")
    with pytest.raises(ValueError, match="table: expected figures, got none"):
        plot(Table((), table.prompts, table.values[:0]))


def test_a_technique_without_the_last_step_is_no_error(table: Table) -> None:
    """Figures put together from tables of other steps."""
    keys = [i for i, key in enumerate(table.keys) if (key.technique, key.steps) != ("greedy", 4)]
    part = Table(tuple(table.keys[i] for i in keys), table.prompts, table.values[keys])
    assert "greedy" not in {line.get_label() for line in plot(part).lines}
    assert "greedy" in {line.get_label() for line in plot(part, "steps").lines}


def test_a_chain_that_diverged_has_a_picture(tmp_path: Path) -> None:
    result = run(RunConfig(**{**SMALL, "steps": (64,), "step_size": 50}))
    draw_run(result, tmp_path / "run.png")
    assert "nan" in text(result)


def test_a_picture_that_fails_leaves_the_old_one(
    result: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it cannot be drawn to its end or cannot be written to its end."""
    path = tmp_path / "run.PDF"
    draw_run(result, path)
    old = path.read_bytes()
    assert old.startswith(b"%PDF")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def fail_halfway(self: object, file: Any, **_: object) -> None:
        file.write(b"%PDF half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match=r"plot: cannot write .*run.PDF: No space left"):
        draw_run(result, path)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail_halfway)
    with pytest.raises(KeyboardInterrupt):
        draw_run(result, path)
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ["run.PDF"]


def test_without_matplotlib(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'ttc-fast\[plot\]'"):
        plot(table)


def first_sample(candidates: Candidates) -> torch.Tensor:
    """The first candidate."""
    return candidates.coefficients[:, :, 0]


@pytest.fixture
def registered() -> Iterator[str]:
    register(as_technique(first_sample))
    yield "first_sample"
    del TECHNIQUES["first_sample"]


def test_a_technique_of_the_user_is_in_picture_and_screen(registered: str, tmp_path: Path) -> None:
    result = run(RunConfig(**{**SMALL, "technique": ("mean", registered)}))
    assert text(result).count(registered) == 4
    labels = [line.get_label() for line in plot(result.table.select(coefficients="binary")).lines]
    assert registered in labels
    draw_run(result, tmp_path / "run.svg")
    assert "<svg" in (tmp_path / "run.svg").read_text()


@pytest.mark.parametrize(("low", "high"), [(0.039, 0.044), (3e-4, 3e-3), (0.02, 1.0), (1.0, 1024.0), (1e-6, 10.0)])
def test_ticks_of_a_column_can_be_read(low: float, high: float) -> None:
    """No label lies on another, and all are small; both were once otherwise on axes of less than a decade."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = figures.Figure(figsize=(COLUMN, 2.2), layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot([low, high], [low, high])
    axes.set_xscale("log")
    axes.set_yscale("log")
    finish(axes)
    canvas.draw()
    for axis in (axes.xaxis, axes.yaxis):
        labels = [one for one in axis.get_ticklabels(which="both") if one.get_text()]
        shown = [one for one in labels if axis.get_view_interval()[0] <= one.get_position()[axis is axes.yaxis]]
        shown = [one for one in shown if one.get_position()[axis is axes.yaxis] <= axis.get_view_interval()[1]]
        assert {one.get_fontsize() for one in shown} == {6.0}
        assert len(shown) >= 2
        boxes = [one.get_window_extent() for one in shown]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
