"""The command ``ttc-fast analyze``: other people's samples in, figures with intervals out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from ..estimators.intervals import Interval, PowerLaw
    from ..estimators.selection import Array
    from .reader import SampleLog


@dataclass(frozen=True)
class AnalyzeConfig:
    """Read logs of repeated samples and show pass@k, maj@k and best@k, estimated from all subsets of k of a
    prompt's samples, with 95 % intervals over prompts."""

    files: Positional[tuple[Path, ...]]
    """Logs of one format; a prompt that occurs in several of them gets the samples of all."""
    format: Literal["plain", "counts", "human-eval", "lm-eval", "search-and-learn", "matrix"] | None = None
    """Layout of the files (default: told from the content)."""
    budgets: tuple[int, ...] | None = None
    """Samples k that a technique may spend (default 1, 2, 4, ... up to the samples that every prompt has)."""
    ties: Literal["random", "fail", "first"] = "random"
    """Who wins a tied vote: a fair draw, nobody, or the answer sampled first."""
    no_answer: Literal["fail", "ignore"] = "fail"
    """Samples without answer vote for failure, or do not vote."""
    filter: Annotated[str | None, arg(metavar="NAME")] = None
    """Of an lm-eval log with several filters: the one whose rows count."""
    skip_bad: bool = False
    """Leave out lines that cannot be understood, and count them."""
    against: tuple[Path, ...] | None = None
    """Logs of another model or setting over the same prompts: show the paired differences."""
    json: Path | None = None
    """Write the records, the fit and the comparison to this file."""
    quiet: bool = False
    """Print nothing but errors."""


class Curve(NamedTuple):
    """A metric of every prompt at every budget."""

    metric: str
    values: Array
    """``[P, K]``; NaN where a prompt has fewer than k samples."""
    error: Array | None = None
    """Monte Carlo standard error ``[P, K]`` of what has no closed form."""


class Point(NamedTuple):
    """A metric at one budget, over the prompts with at least k samples."""

    metric: str
    k: int
    mean: float
    ci_low: float
    ci_high: float
    prompts: int


class Difference(NamedTuple):
    """Two metrics on the same prompts."""

    one: str
    other: str
    k: int
    interval: Interval


@dataclass(frozen=True)
class Analysis:
    """What :func:`analyze` returns."""

    log: SampleLog
    budgets: tuple[int, ...]
    curves: tuple[Curve, ...]
    points: tuple[Point, ...]
    bands: dict[tuple[str, int], Interval]
    """Intervals that hold together over all budgets with 95 %; none where prompts have too few samples."""
    fit: PowerLaw | None
    differences: tuple[Difference, ...]
    """Paired, at the largest budget that every prompt has."""


class Pair(NamedTuple):
    """A metric of two logs at one budget, over the prompts with at least k samples in both."""

    metric: str
    k: int
    here: float
    against: float
    difference: Interval
    """Of the means, ``here - against``."""
    prompts: int


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` returns."""

    other: SampleLog
    matched: int
    """Prompts that both logs have."""
    pairs: tuple[Pair, ...]


def analyze(
    log: SampleLog,
    budgets: tuple[int, ...] | None = None,
    *,
    ties: Literal["random", "fail", "first"] = "random",
    no_answer: Literal["fail", "ignore"] = "fail",
    progress: Callable[[float], None] = lambda share: None,
) -> Analysis:
    """Every metric that the log allows: pass@k; maj@k with answers; best@k with scores; with both also the
    weighted vote, if no score is negative.

    Raises:
        ValueError: a budget is above the samples of every prompt.
    """
    import numpy as np

    from ..estimators.intervals import fit_coverage, simultaneous_band

    least, most = int(log.samples.min()), int(log.samples.max())
    chosen = tuple(sorted(set(budgets or _powers_of_two(least))))
    if not 1 <= chosen[0] <= chosen[-1] <= most:
        raise ValueError(f"budgets: expected numbers from 1 to {most}, the most samples of a prompt, got {chosen}")
    curves = _curves(log, chosen, ties, no_answer, progress)
    points, bands = [], {}
    for curve in curves:
        points += [_point(curve, i, k) for i, k in enumerate(chosen)]
        whole = [i for i, k in enumerate(chosen) if k <= least]
        if whole:
            for i, band in zip(whole, simultaneous_band(curve.values[:, whole])):
                bands[curve.metric, chosen[i]] = band
    complete = log.samples >= chosen[-1]
    return Analysis(
        log,
        chosen,
        tuple(curves),
        tuple(points),
        bands,
        fit_coverage(curves[0].values[complete], chosen) if np.count_nonzero(complete) > 1 else None,
        tuple(_differences(curves, chosen, least)),
    )


def _powers_of_two(most: int) -> tuple[int, ...]:
    return (*(2**i for i in range((most - 1).bit_length())), most)


def _curves(
    log: SampleLog, budgets: tuple[int, ...], ties: Any, no_answer: Any, progress: Callable[[float], None]
) -> list[Curve]:
    import numpy as np

    from ..estimators.selection import best_of_k, pass_at_k
    from ..estimators.votes import majority_at_k, weighted_vote_at_k

    empty = np.full((len(log.samples), len(budgets)), np.nan)
    curves = {"pass@k": pass_at_k(log.samples, log.correct, budgets)}
    error = empty.copy()
    weighted = log.answers is not None and log.scores is not None and bool((log.scores >= 0).all())
    done = 0
    for prompts, index in log.banks() if log.labels is not None else ():
        labels = log.labels[index]  # type: ignore[index]  # not None, as the line above says
        if log.answers is not None:
            curves.setdefault("maj@k", empty.copy())[prompts] = majority_at_k(
                log.answers[index],
                labels,
                budgets,
                ties=ties,
                no_answer=no_answer,
                progress=partial(_part, progress, done / len(empty), len(prompts) / len(empty)),
            )
        if log.scores is not None:
            curves.setdefault("best@k", empty.copy())[prompts] = best_of_k(log.scores[index], labels, budgets)
        if weighted:
            curve = curves.setdefault("weighted@k", empty.copy())
            curve[prompts], error[prompts] = weighted_vote_at_k(
                log.answers[index],  # type: ignore[index]  # weighted: not None
                log.scores[index],  # type: ignore[index]  # weighted: not None
                labels,
                budgets,
            )
        done += len(prompts)
    progress(1.0)
    return [Curve(metric, values, error if metric == "weighted@k" else None) for metric, values in curves.items()]


def _part(progress: Callable[[float], None], before: float, size: float, share: float) -> None:
    """Report ``share`` of a part as a share of the whole."""
    progress(before + share * size)


def _point(curve: Curve, column: int, k: int) -> Point:
    import numpy as np

    from ..estimators.intervals import bounded_interval

    values = curve.values[:, column]
    values = values[~np.isnan(values)]
    return Point(curve.metric, k, *bounded_interval(values), len(values))


def _differences(curves: list[Curve], budgets: tuple[int, ...], least: int) -> list[Difference]:
    """Every technique against a single sample, and every two against each other."""
    import numpy as np

    from ..estimators.intervals import paired_differences

    common = [i for i, k in enumerate(budgets) if k <= least]
    if not common or budgets[common[-1]] == 1:
        return []
    pass_at_k = curves[0].values[:, common]
    answers = {"single": np.broadcast_to(pass_at_k[:, :1], pass_at_k.shape)} if budgets[0] == 1 else {}
    answers |= {curve.metric: curve.values[:, common] for curve in curves[1:]} | {"pass@k": pass_at_k}
    names = list(answers)
    return [
        Difference(other, one, budgets[common[-1]], paired_differences(answers[other], answers[one])[-1])
        for n, one in enumerate(names)
        for other in names[n + 1 :]
    ]


def compare(
    result: Analysis,
    other: SampleLog,
    *,
    ties: Literal["random", "fail", "first"] = "random",
    no_answer: Literal["fail", "ignore"] = "fail",
    progress: Callable[[float], None] = lambda share: None,
) -> Comparison:
    """The metrics of an analysis against those of another log over the same prompts, at the budgets of both.

    Raises:
        ValueError: the logs have no prompt in common, or no budget.
    """
    here, there = _matched(result.log, other)
    budgets = tuple(k for k in result.budgets if k <= other.samples[there].max())
    if not budgets:
        raise ValueError(
            f"budgets: expected one up to {other.samples[there].max()}, the most samples of a prompt in against, "
            f"got {result.budgets}"
        )
    theirs = {curve.metric: curve.values[there] for curve in _curves(other, budgets, ties, no_answer, progress)}
    pairs: list[Pair] = []
    for curve in result.curves:
        if curve.metric in theirs:
            pairs += _pairs(curve.metric, budgets, curve.values[here, : len(budgets)], theirs[curve.metric])
    return Comparison(other, len(here), tuple(pairs))


def _matched(one: SampleLog, other: SampleLog) -> tuple[Any, Any]:
    """Where in each log the prompts are that both have."""
    import numpy as np

    if "matrix" in (one.format, other.format) and len(one.prompts) != len(other.prompts):
        raise ValueError(
            f"against: expected {len(one.prompts)} prompts, since a matrix is matched row by row, "
            f"got {len(other.prompts)}; give both the same rows"
        )
    _, here, there = np.intersect1d(one.prompts, other.prompts, assume_unique=True, return_indices=True)
    if not len(here):
        raise ValueError(
            f"against: expected prompts that files has too, got none of its {len(one.prompts)} among "
            f"{len(other.prompts)}; name the same prompts alike in both"
        )
    order = np.argsort(here)  # hashes differ from run to run, and sums depend on the order
    return here[order], there[order]


def _pairs(metric: str, budgets: tuple[int, ...], one: Array, other: Array) -> list[Pair]:
    import numpy as np

    from ..estimators.intervals import paired_differences

    both = ~np.isnan(one + other)
    kept = np.flatnonzero(both.any(axis=0))
    differences = paired_differences(one[:, kept], other[:, kept]) if len(kept) else []
    return [
        Pair(
            metric,
            budgets[i],
            float(one[both[:, i], i].mean()),
            float(other[both[:, i], i].mean()),
            difference,
            int(both[:, i].sum()),
        )
        for i, difference in zip(kept, differences)
    ]


def main(config: AnalyzeConfig) -> None:
    """Read, estimate, print, write.

    Raises:
        ValueError, OSError: with a message for the user.
    """
    # numpy and rich wait until the command line is understood.
    from ..cli import console as output
    from . import reader as samplelogs

    if config.json is not None:
        output.check_writable(config.json)
    with output.progress(quiet=config.quiet, verb="done") as progress:

        def read(paths: tuple[Path, ...], kind: str) -> SampleLog:
            return samplelogs.read(
                paths,
                config.format,
                lm_eval_filter=config.filter,
                skip_bad=config.skip_bad,
                progress=lambda share: progress(kind, share),
            )

        rules: dict[str, Any] = {"ties": config.ties, "no_answer": config.no_answer}
        log = read(config.files, "reading")
        other = None if config.against is None else read(config.against, "reading against")
        if other is not None:
            _matched(log, other)  # logs that do not belong together end here, before minutes of votes
        result = analyze(log, config.budgets, **rules, progress=lambda share: progress("estimating", share))
        comparison = None
        if other is not None:
            comparison = compare(result, other, **rules, progress=lambda share: progress("estimating against", share))
    if not config.quiet:
        show(config, result, comparison)
    if config.json is not None:
        output.write(config.json, to_json(config, result, comparison))


def show(config: AnalyzeConfig, result: Analysis, comparison: Comparison | None = None) -> None:
    """Print what was read, the table, the fit and the comparisons."""
    from .. import __version__
    from ..cli import console as output

    console, log = output.console(), result.log
    rules = f"; ties: {config.ties}, no answer: {config.no_answer}" if log.answers is not None else ""
    console.print(f"ttc-fast {__version__}: {_size(log)}{rules}")
    _show_left_out(console, log)
    console.print("mean over prompts, \\[95 % interval]; band: 95 % for all k together\n")
    cells = {(p.k, p.metric): _cell(result, p) for p in result.points}
    if log.tokens is not None:
        cells |= {(k, "tokens"): f"{k * log.tokens.mean():,.0f}" for k in result.budgets}
    console.print(output.table("k", cells))
    _show_rest(console, result)
    if comparison is not None:
        _show_comparison(console, result, comparison)


def _size(log: SampleLog) -> str:
    least, most = int(log.samples.min()), int(log.samples.max())
    samples = f"{least}" if least == most else f"{least} to {most}"
    return f"{len(log.samples):,} prompts x {samples} samples, format {log.format}"


def _show_left_out(console: Any, log: SampleLog) -> None:
    from rich.markup import escape

    if log.pooled:
        console.print(f"{log.pooled:,} prompts occur in several files: their samples are put together")
    if log.skipped:
        console.print(f"{log.skipped:,} bad lines left out, such as:")
        for complaint in log.complaints:
            console.print(f"  {escape(complaint)}")


def _cell(result: Analysis, point: Point) -> str:
    import math

    text = f"{point.mean:.4f}"
    if math.isfinite(point.ci_low):
        text += f" \\[{point.ci_low:.4f}, {point.ci_high:.4f}]"
    if point.prompts < len(result.log.samples):
        text += f" ({point.prompts} prompts)"
    band = result.bands.get((point.metric, point.k))
    if band is not None and math.isfinite(band.high):
        text += f"\n  band \\[{band.low:.4f}, {band.high:.4f}]"
    return text


_STAR = "*: this interval leaves out 0"


def _show_rest(console: Any, result: Analysis) -> None:
    import numpy as np

    for curve in result.curves:
        if curve.error is not None:
            noise = np.sqrt(np.nansum(curve.error**2, axis=0).max()) / len(curve.error)
            console.print(
                f"{curve.metric}: sum of scores per answer, by random subsets; Monte Carlo error up to {noise:.1g}"
            )
    if result.fit is not None:
        fit = result.fit
        interval = f" \\[{fit.exponent_low:.3g}, {fit.exponent_high:.3g}]"
        console.print(f"coverage: -ln pass@k ~ {fit.scale:.3g} k^-b with b = {fit.exponent:.3g}{interval}")
    if len(result.log.samples) == 1:
        console.print("one prompt: there is no interval over prompts")
    elif result.differences:
        console.print(f"\non the same prompts, at k = {result.differences[0].k} ({_STAR}):")
        for one, other, _, difference in result.differences:
            console.print(f"  {one:<10} - {other:<10} {_difference(difference)}")


def _difference(interval: Interval) -> str:
    import math

    mean, low, high = interval
    if not math.isfinite(low):
        return f"{mean:+.4f}"
    return f"{mean:+.4f} \\[{low:+.4f}, {high:+.4f}]{'' if low <= 0 <= high else '  *'}"


def _show_comparison(console: Any, result: Analysis, comparison: Comparison) -> None:
    from ..cli import console as output

    other, matched = comparison.other, comparison.matched
    console.print(
        f"\nagainst {_size(other)}: {matched:,} prompts in both, {len(result.log.samples) - matched:,} "
        f"only in files, {len(other.samples) - matched:,} only in against"
    )
    _show_left_out(console, other)
    console.print(f"on the same prompts ({_STAR}):\n")
    cells: dict[tuple[str, str], str] = {}
    for metric, k, here, there, difference, prompts in comparison.pairs:
        row = metric.replace("@k", f"@{k}")
        cells[row, "here"], cells[row, "against"] = f"{here:.4f}", f"{there:.4f}"
        cells[row, "here - against"] = _difference(difference)
        cells[row, "prompts"] = f"{prompts:,}"
    console.print(output.table("metric", cells))


def to_json(config: AnalyzeConfig, result: Analysis, comparison: Comparison | None = None) -> str:
    """The result as JSON; what is not known becomes null."""
    import json
    import platform

    import numpy

    from .. import __version__
    from ..cli import console as output

    weighted = [p for p in result.points if p.metric == "weighted@k"]
    document = {
        "config": {
            "files": [str(path) for path in config.files],
            "format": result.log.format,
            "budgets": result.budgets,
            "ties": config.ties,
            "no_answer": config.no_answer,
        },
        "versions": {"ttc_fast": __version__, "python": platform.python_version(), "numpy": numpy.__version__},
        "prompts": len(result.log.samples),
        "samples": int(result.log.samples.sum()),
        "bad_lines": result.log.skipped,
        "records": [output.finite(p._asdict()) for p in result.points if p.metric != "weighted@k"],
        "weighted_vote": [output.finite(p._asdict()) for p in weighted],
        "coverage_fit": None if result.fit is None else output.finite(result.fit._asdict()),
        "differences": [
            {"one": d.one, "other": d.other, "k": d.k, **output.finite(d.interval._asdict())}
            for d in result.differences
        ],
        "against": None if comparison is None else _against(config, comparison),
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def _against(config: AnalyzeConfig, comparison: Comparison) -> dict[str, Any]:
    from ..cli import console as output

    return {
        "files": [str(path) for path in config.against or ()],
        "prompts": comparison.matched,
        "records": [
            output.finite(
                {
                    "metric": pair.metric,
                    "k": pair.k,
                    "difference": pair.difference.mean,
                    "ci_low": pair.difference.low,
                    "ci_high": pair.difference.high,
                    "prompts": pair.prompts,
                }
            )
            for pair in comparison.pairs
        ],
    }
