"""From the settings of a run to its decoding rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..decoding.authors_rules import ElementwiseNoise, RankOneNoise, SubsetSampling
from ..decoding.rules import BernoulliSampling, GaussianNoise, Rule
from ..decoding.schedules import GeometricDecay, NoiseSchedule, PowerLawDecay
from ..numerics import check
from .config import Kind, RuleName, RunConfig

STRENGTH = 0.05
"""Default of rank-one noise: with the other defaults its chains are stable in mean square."""


@dataclass(frozen=True)
class _Named:
    """A rule of the command line."""

    kind: Kind
    make: Callable[[RunConfig], Rule]
    settings: tuple[str, ...]
    """Those that it takes."""


_NOISE = ("noise_scale", "noise_schedule")

RULES: dict[RuleName, _Named] = {
    "gaussian": _Named("continuous", lambda c: GaussianNoise(_schedule(c, c.noise_scale)), _NOISE),
    "rank_one": _Named("continuous", lambda c: RankOneNoise(_schedule(c, c.strength)), ("strength", "noise_schedule")),
    "elementwise": _Named("continuous", lambda c: ElementwiseNoise(_schedule(c, c.noise_scale)), _NOISE),
    "bernoulli": _Named(
        "binary",
        lambda c: BernoulliSampling(c.link, c.temperature, c.sample_at),
        ("link", "temperature", "sample_at"),
    ),
    "subset": _Named("binary", lambda c: SubsetSampling(check.integer("ones", c.ones, 1, 2**24)), ("ones",)),
}
"""By the name that ``--rule`` takes."""

DEFAULT: dict[Kind, RuleName] = {"continuous": "gaussian", "binary": "bernoulli"}


def names(config: RunConfig) -> dict[Kind, RuleName]:
    """The rule asked for, by kind of coefficients; those not asked for have the default.

    Raises:
        TypeError, ValueError: a name is unknown, or there are two of a kind.
    """
    asked: dict[Kind, RuleName] = {}
    for name in config.rule:
        check.choice("rule", name, tuple(RULES))
        kind = RULES[name].kind
        if kind in asked:
            raise ValueError(f"rule: expected one for {kind} coefficients, got {asked[kind]} and {name}")
        asked[kind] = name
    return DEFAULT | asked


def kinds(config: RunConfig) -> tuple[Kind, ...]:
    """The kinds of coefficients of a run: those asked for; of ``"both"``, those of the rules asked for, if any."""
    check.choice("coefficients", config.coefficients, ("continuous", "binary", "both"))
    if config.coefficients != "both":
        return (config.coefficients,)
    asked = {RULES[name].kind for name in names(config).values() if name in config.rule}
    return tuple(kind for kind in DEFAULT if kind in asked or not asked)


def with_rules(config: RunConfig) -> RunConfig:
    """The settings with the defaults that the rules decide.

    Raises:
        TypeError, ValueError: a setting belongs to a rule that is not asked for, or one is missing.
    """
    used = {kind: names(config)[kind] for kind in kinds(config)}
    if config.rule and not any(name in used.values() for name in config.rule):
        asked, kind = " and ".join(config.rule), next(iter(used))
        raise ValueError(f"rule: expected one for {kind} coefficients, got {asked}; leave out --coefficients")
    if len(used) == 1:
        config = replace(config, coefficients=next(iter(used)))
    for setting in dict.fromkeys(setting for rule in RULES.values() for setting in rule.settings):
        value, default = getattr(config, setting), getattr(RunConfig, setting)
        takers = [name for name, rule in RULES.items() if setting in rule.settings]
        given = value is not None if default is None else not isinstance(value, type(default)) or value != default
        if given and not any(name in names(config).values() for name in takers):
            got, added = check.shown(value), " or ".join(f"--rule {name}" for name in takers)
            without = f"{setting}: expected none without the rule {' or '.join(takers)}"
            raise ValueError(f"{without}, got {got}; leave it out, or add {added}")
    config = replace(config, rule=tuple(used.values()))
    if "rank_one" in config.rule and config.strength is None:
        config = replace(config, strength=STRENGTH)
    if "subset" in config.rule and config.ones is None:
        if config.nonzero is None:
            raise ValueError("ones: expected the number of ones that the rule subset draws, got none; add --ones, or "
                             "--nonzero for prompts whose truth has so many")  # fmt: skip
        config = replace(config, ones=config.nonzero)
    if names(config)["binary"] == "bernoulli":  # also where only continuous ones are run
        config = replace(config, temperature=BernoulliSampling(config.link, config.temperature).temperature)
    return config


def make_rules(config: RunConfig) -> dict[Kind, Rule]:
    """The rules by kind of coefficients.

    Args:
        config: of :func:`with_rules`.
    """
    return {RULES[name].kind: RULES[name].make(config) for name in config.rule}


def _schedule(config: RunConfig, initial: float | None) -> NoiseSchedule:
    """``constant``, ``geometric:RATIO`` or ``power:EXPONENT``, from ``initial`` on."""
    start = check.scale("noise_scale", initial)
    check.text("noise_schedule", config.noise_schedule)
    name, _, text = config.noise_schedule.partition(":")
    if name == "constant" and not text:
        return start
    try:
        number = float(text)
    except ValueError:
        number = None
    if number is None or name not in ("geometric", "power"):
        raise ValueError(
            f"noise_schedule: expected constant, geometric:RATIO or power:EXPONENT, got {config.noise_schedule!r}"
        )
    kind = "ratio" if name == "geometric" else "exponent"
    check.number(f"noise_schedule: {kind}", number, *((0.0,) if name == "geometric" else ()))
    return GeometricDecay(start, number) if name == "geometric" else PowerLawDecay(start, number)
