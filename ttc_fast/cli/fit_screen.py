"""What ``ttc-fast fit`` prints."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from ..experiments.log_config import FitConfig
    from ..logs.fit import Fit, Forecast
    from ..logs.laboratory import Likeness
    from .fit_answer import Answer

MOST_NAMES = 10
"""Of prompts that are listed; --json holds all."""


def show(config: FitConfig, answer: Answer) -> None:
    """Print what was read, the forecasts, and what follows from them.

    Args:
        config: the settings.
        answer: of the command.
    """
    from .. import __version__
    from . import console as output
    from .analyze_screen import show_left_out, show_notes, size

    console, fit = output.console(), answer.fit
    rules = f"; ties: {config.ties}, no answer: {config.no_answer}, equal: {config.equal}"
    first = "" if config.first is None else f", the first {config.first:,} of each fitted"
    console.print(f"ttc-fast {__version__}: {size(fit.log)}{first}{rules if fit.log.answers is not None else ''}")
    show_left_out(console, fit.log)
    show_notes(console, fit.notes)
    console.print("forecast for prompts like these, \\[95 % interval]; seen: all subsets of k of all samples\n")
    cells = {}
    for point in fit.forecasts:
        cells[f"{point.k:,}", point.metric] = _cell(point)
    console.print(output.table("k", cells))
    _show_law(console, fit)
    _show_votes(console, config, answer)
    _show_worth(console, answer)
    for likeness in answer.likenesses or ():
        _show_likeness(console, likeness)


def _cell(point: Forecast) -> str:
    seen = f"\n  seen {point.seen:.4f}" if math.isfinite(point.seen) else ""
    return f"{point.mean:.4f} \\[{point.low:.4f}, {point.high:.4f}]{seen}"


def _show_law(console: Console, fit: Fit) -> None:
    parts = [f"{value:.3g} \\[{low:.3g}, {high:.3g}]" for value, low, high in fit.law_quantiles.values()]
    levels = ", ".join(f"{100 * level:g}" for level in fit.law_quantiles)
    console.print(f"probability of success: {levels} % of the prompts are at or below {', '.join(parts)}")
    last, k = fit.of("pass@k")[fit.budgets[-1]], fit.budgets[-1]
    power = f", by the power law of the coverage {last.power_law:.4f}" if math.isfinite(last.power_law) else ""
    console.print(
        f"by the beta law ({fit.beta.a:.3g}, {fit.beta.b:.3g}) alone pass@{k:,} would be {last.beta:.4f}{power}"
    )


def _show_votes(console: Console, config: FitConfig, answer: Answer) -> None:
    from rich.markup import escape

    from ..logs.worth import SATURATED
    from ..numerics.visible import visible

    fit = answer.fit
    if fit.vote_limit is None or fit.unsolved is None:
        return
    bar = "a single sample" if config.greedy is None else f"greedy decoding ({config.greedy:.4f})"
    last = f"{fit.budgets[-1]:,}"
    passes = f"from k = {answer.passes:,} on" if answer.passes else f"not up to k = {last}"
    full = f"from k = {answer.saturates:,} on" if answer.saturates else f"not up to k = {last}"
    mean, low, high = fit.vote_limit
    limit = f"{mean:.4f} \\[{low:.4f}, {high:.4f}]"
    console.print(f"votes: above {bar} {passes}; within {SATURATED} of their limit {limit} {full}")
    names = [f"{escape(visible(f'{one.prompt:.60}'))} ({one.single:.2f})" for one in answer.never[:MOST_NAMES]]
    more = "" if len(answer.never) <= MOST_NAMES else f", and {len(answer.never) - MOST_NAMES:,} more (--json)"
    told = f": {', '.join(names)}{more}" if names else ""
    console.print(
        f"voting never solves {fit.unsolved.sum():.1f} of {len(fit.unsolved):,} prompts, "
        f"{len(answer.never):,} of these with 95 % certainty (share of right samples){told}"
    )


def _show_worth(console: Console, answer: Answer) -> None:
    for one in answer.worth:
        end = ", the largest k here: more may be worth it" if one.at_end else ""
        last = f"; by the last step one more right answer costs {one.per_right:.3g}"
        price = last if math.isfinite(one.per_right) else ""
        console.print(
            f"{one.metric}: worth buying k = {one.k:,} samples{end}: {one.accuracy:.4f} right for {one.cost:.3g} "
            f"a prompt{price}"
        )


def _show_likeness(console: Console, likeness: Likeness) -> None:
    from rich.markup import escape

    facts = likeness.setting.facts().items()
    what = ", ".join(f"{name} {value if isinstance(value, str) else f'{value:.3g}'}" for name, value in facts)
    console.print(
        f"nearest laboratory of {likeness.setting.kind} by {' and '.join(likeness.curves)}: {escape(what)}: "
        f"{likeness.distance:.4f} away in the root mean square, at most {likeness.largest:.4f}; "
        f"{likeness.outside} of {likeness.compared} figures outside the intervals"
    )
