"""The techniques by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from ..numerics import check
from . import aggregate
from .base import Candidates, Technique, as_technique
from .particles import ParticleFilter
from .ridge import ridge
from .search import BeamSearch, SelfRefinement
from .stopping import StopEarly, VoteUntilDecided

TECHNIQUES: Final[dict[str, Technique]] = {
    technique.name: technique
    for technique in (
        aggregate.greedy,
        aggregate.single,
        aggregate.mean,
        aggregate.median,
        aggregate.geometric_median,
        aggregate.majority_vote,
        aggregate.plurality,
        aggregate.plurality_smallest,
        aggregate.weighted_vote(),
        aggregate.softmax_mean(),
        aggregate.best_of_n,
        aggregate.weighted_best_of_n(),
        aggregate.majority_of_best(),
        aggregate.oracle_best_of_n,
        ridge(),
        Technique(
            "particle_filter",
            search=ParticleFilter(),
            about="mean of particles, resampled at every thought by exp(10 score)",
            source="Puri et al., arXiv 2502.01618",
        ),
        Technique(
            "beam_search",
            search=BeamSearch(),
            about="at every thought the best quarter goes on, fourfold",
            source="Snell et al., arXiv 2408.03314",
        ),
        Technique(
            "self_refinement",
            search=SelfRefinement(),
            about="every thought starts from the best answer so far",
            source="Madaan et al., arXiv 2303.17651",
        ),
        Technique(
            "stop_early",
            search=StopEarly(),
            about="mean of the samples, at the first of --steps at which it moved by at most 0.001 in |.|^2 / d",
            source="Muennighoff et al., arXiv 2501.19393",
            resumes=False,
        ),
        Technique(
            "adaptive_vote",
            search=VoteUntilDecided(),
            about="majority per coefficient of as few samples as decide all, with error 0.05",
            source="Aggarwal et al., arXiv 2305.11860",
            binary_only=True,
            resumes=False,
        ),
    )
}
"""Every technique that ``ttc-fast run`` knows. Those with a threshold that only the user can know,
:func:`ttc_fast.techniques.aggregate.first_accepted` and :func:`ttc_fast.rejection_search`, are for Python alone."""

DEFAULT: Final = ("greedy", "single", "mean", "majority_vote", "best_of_n", "oracle_best_of_n")
"""What is shown where nothing is asked for."""

Part: TypeAlias = str | Technique | Callable[[Candidates], Any]
"""A technique as a user may give it: its name, a :class:`Technique`, or whatever :func:`as_technique` takes."""


def register(technique: Technique) -> None:
    """Let ``technique`` be asked for by its name.

    Raises:
        TypeError: it is no :class:`Technique`.
        ValueError: another one has this name.
    """
    if not isinstance(technique, Technique):
        name = getattr(technique, "__name__", type(technique).__name__)
        raise TypeError(
            f"technique: expected a Technique, got {name}; a function of candidates becomes one by "
            f"ttc_fast.Technique({name!r}, {name})"
        )
    if TECHNIQUES.setdefault(technique.name, technique) != technique:
        raise ValueError(f"technique: the name {technique.name!r} is taken by another one; choose another name")


def chosen(techniques: Mapping[str, Part] | Iterable[Part] | Part | None) -> dict[str, Technique]:
    """Techniques by name.

    Args:
        techniques: names, functions or :class:`Technique` objects; a mapping gives them other names; None stands for
            :data:`DEFAULT`.

    Returns:
        The techniques, in the order given.

    Raises:
        TypeError, ValueError: one is no technique, a name is unknown, or is taken.

    >>> list(chosen(["mean", "best_of_n"]))
    ['mean', 'best_of_n']
    """
    if techniques is None:
        techniques = DEFAULT
    given: Sequence[tuple[str | None, Any]]
    if isinstance(techniques, str) or callable(techniques) or hasattr(techniques, "search"):
        given = [(None, techniques)]
    elif isinstance(techniques, Mapping):
        given = list(techniques.items())
    else:
        wanted = "names, functions of candidates, or Technique objects"
        given = [(None, part) for part in check.listed("techniques", techniques, wanted)]
    if not given:
        raise ValueError("techniques: expected at least one, got none")
    result: dict[str, Technique] = {}
    for name, part in given:
        if isinstance(part, str):
            check.choice("technique", part, tuple(TECHNIQUES))
            part = TECHNIQUES[part]
        one = as_technique(part, name)
        if one.name in result or TECHNIQUES.get(one.name, one) != one:
            raise ValueError(
                f"technique: the name {one.name!r} is taken by another one; give a mapping from names to techniques"
            )
        result[one.name] = one
    return result
