"""What a user should know of labels and answers: contradictions, whole generations, what normalisation joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from ..estimators.arrays import Integers
from .answers import Equal, same

Flags = NDArray[np.bool_]


def notes(prompt: Integers, labels: Flags, exact: Integers, forms: Integers, long: int, equal: Equal) -> Iterator[str]:
    """What is odd, in a line each.

    Args:
        prompt: of every sample.
        labels: whether it is correct.
        exact: a number for the text of its answer, negative for none.
        forms: a number for what its answer is compared as, likewise.
        long: how many answers are long.
        equal: how answers are compared.
    """
    without = labels & (forms < 0)
    if without.any():
        yield (
            f"{without.sum():,} samples are labelled correct without an answer: they count for pass@k and best@k; in a "
            "vote no answer cannot win"
        )
    has = forms >= 0
    prompt, labels, exact, forms = prompt[has], labels[has], exact[has], forms[has]
    if len(prompt) == 0:
        return
    pair, value = _pairs(prompt, forms, labels)
    split = int(np.unique(pair[(value > 0) & (value < 1)]).size)
    if split:
        yield (
            f"in {split:,} prompts the same answer is labelled both correct and wrong: it counts as the share of its "
            "samples that are correct"
        )
    right = np.bincount(pair, weights=value == 1)
    several = int((right > 1).sum())
    if several:
        yield (
            f"{several:,} prompts have different answers that are labelled correct, which do not vote together "
            f"(equal: {equal}; --equal math knows more formulas as the same)"
        )
    joined = int((np.bincount(_pairs(prompt, exact, labels)[0]) != np.bincount(pair)).sum())
    if joined:
        yield f"in {joined:,} prompts answers of different spelling vote together (--equal exact keeps them apart)"
    if len(pair) == len(prompt) and len(prompt) > pair.max() + 1 and 2 * long > len(prompt):
        yield (
            "no two answers of a prompt agree: these look like whole generations, and a vote among them says nothing; "
            "--extract boxed, last-number or a regular expression takes the answers out of them"
        )


def _pairs(prompt: Integers, answer: Integers, labels: Flags) -> tuple[Integers, NDArray[np.float64]]:
    """Every prompt and answer that go together: the prompt, and the share of correct samples."""
    key = prompt * (answer.max() + 1) + answer
    order = np.argsort(key, kind="stable")
    key = key[order]
    starts = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
    counts = np.diff(starts, append=len(key))
    return prompt[order][starts], np.add.reduceat(labels[order].astype(np.float64), starts) / counts


def classes(prompt: Integers, forms: Integers, texts: Callable[[int], str]) -> Integers:
    """The forms with one number for those of a prompt that math-verify takes for the same.

    Args:
        prompt: of every sample.
        forms: a number for what its answer is compared as, negative for none.
        texts: of a form.
    """
    result = forms.copy()
    order = np.argsort(prompt, kind="stable")
    for samples in np.split(order, np.flatnonzero(np.diff(prompt[order])) + 1):
        first: list[int] = []
        for form in dict.fromkeys(forms[samples].tolist()):
            if form < 0:
                continue
            like = next((one for one in first if same(texts(one), texts(form), "math")), None)
            if like is None:
                first.append(form)
            else:
                result[samples[forms[samples] == form]] = like
    return np.asarray(result)
