r"""When two answers are the same, and where an answer stands in a completion.

``exact`` compares texts as they are. ``normalised`` (the default) first takes away what does not change the meaning of
an answer; the rules are those of the graders of MATH and Qwen2.5-Math:

* accents that are written as characters of their own join their letters (Unicode's NFC); spaces around it and, in
  formulas, within; a final full stop; ``$``, ``\(``, ``\[``; spacing and sizes of LaTeX
  (``\!``, ``\,``, ``\left``, ...); an outer ``\boxed{}``;
* ``\text{}``, ``\mathrm{}``, ``\textbf{}``, ...: their content stays, but behind a number it is a unit and goes, as
  ``\%`` and degrees do; words behind a number stay;
* ``\dfrac``, ``\tfrac``, ``\frac12`` become ``\frac{1}{2}``; ``x=`` before a number goes;
* thousands separators go (``1,000``, ``1{,}000``, ``1\,000``); numbers and fractions of whole numbers are compared by
  value, so ``42``, ``42.0`` and ``\frac{84}{2}`` are the same.

``math`` asks math-verify for all that is left (the extra ``logs``): ``x+1`` and ``1+x`` are the same.

An empty answer is none, and so is ``\boxed{}``.
"""

from __future__ import annotations

import importlib
import logging
import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal, TypeAlias

Equal: TypeAlias = Literal["exact", "normalised", "math"]
"""When two answers are the same."""

LONGEST = 1000
"""Characters of an answer up to which it is normalised; what is longer is a text, not an answer."""

_SPACING = re.compile(r"\\[!,;: ]|\\quad|\\qquad|\\left(?![a-z])|\\right(?![a-z])|\\displaystyle|~")
_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname)\s*\{([^{}]*)\}")
_UNIT = re.compile(r"(?<=[\d}])\s*\\(?:text|textrm|mathrm|mbox)\s*\{[^{}]*\}(?:\^\{?\d\}?)?$")
_MARKS = re.compile(r"\\?%$|\^\{?\\circ\}?$|\\degree$|°$")
_FRACTION = re.compile(r"\\frac(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))")
_THOUSANDS = re.compile(r"^[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?$")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?$")
_RATIO = re.compile(r"([-+]?)(?:\\frac\{([-+]?\d+)\}\{(\d+)\}|(\d+)/(\d+))$")
_BOX = re.compile(r"\\(?:boxed|fbox)(?![a-zA-Z])")
_NAME = re.compile(r"^[a-zA-Z]\s*=\s*(?=[-+\d.\\])")


def given(answer: str | None) -> str | None:
    r"""The answer, or None where there is none: an empty text, or an empty ``\boxed{}``.

    >>> given(" "), given("\\boxed{ }"), given("0")
    (None, None, '0')
    """
    if answer is None or not answer.strip() or answer.strip() in ("\\boxed{}", "\\boxed{ }", "$\\boxed{}$"):
        return None
    return answer


@lru_cache(maxsize=2**17)
def normalised(answer: str) -> str:
    r"""An answer in the form in which answers are compared; see above.

    >>> [normalised(a) for a in ("42.0", r"$1{,}000\text{ dollars}$", r"\dfrac12", "0.5", r"\text{Evelyn}.", "(3, 4)")]
    ['42', '1000', '1/2', '1/2', 'Evelyn', '(3,4)']
    """
    if len(answer) > LONGEST:
        return answer
    text = unicodedata.normalize("NFC", answer.strip())
    inner = boxed(text)
    if inner is not None and text.strip("$ .").startswith(("\\boxed", "\\fbox")):
        text = inner
    text = text.replace("{,}", ",").replace("\\$", "").replace("$", "").replace("\\(", "").replace("\\)", "")
    text = text.replace("\\[", "").replace("\\]", "").strip().rstrip(".").strip()
    text = _MARKS.sub("", _UNIT.sub("", _SPACING.sub("", text))).strip()
    text = _TEXT.sub(r"\1", text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac"))
    text = _FRACTION.sub(lambda m: f"\\frac{{{m[1] or m[2]}}}{{{m[3] or m[4]}}}", _NAME.sub("", text)).strip()
    spaceless = text.replace(" ", "")
    number = _value(spaceless.replace(",", "") if _THOUSANDS.match(spaceless) else spaceless)
    if number is not None:
        return number
    return spaceless if re.search(r"[\\()\[\]{}^_+*/=<>,-]", text) else " ".join(text.split())


def _value(text: str) -> str | None:
    """A number or a fraction of whole numbers, as its value in lowest terms; None for anything else."""
    text = text.replace("−", "-")
    if len(text) < 64 and _NUMBER.match(text):
        return str(Fraction(text))
    ratio = _RATIO.match(text)
    if ratio and len(text) < 64:
        top, bottom = int(ratio[2] or ratio[4]), int(ratio[3] or ratio[5])
        if bottom:
            return str(Fraction(-top if ratio[1] == "-" else top, bottom))
    return None


def boxed(text: str) -> str | None:
    r"""What stands in the last complete ``\boxed{...}`` or ``\fbox{...}`` of a solution; None if there is none.

    Braces are matched; ``\boxed 4`` counts too.

    >>> boxed(r"so \boxed{1}, no: \boxed{x^{2}}."), boxed(r"\boxed 4"), boxed(r"\boxed{4}, then \boxed{")
    ('x^{2}', '4', '4')
    """
    for start in [match.end() for match in _BOX.finditer(text)][:-101:-1]:
        rest = text[start : start + 10 * LONGEST].lstrip()
        if not rest.startswith("{"):
            word = re.match(r"[^\s$\\{}]+", rest)
            if word:
                return word[0].rstrip(".,")
            continue
        depth = 0
        for i, character in enumerate(rest):
            depth += {"{": 1, "}": -1}.get(character, 0)
            if depth == 0:
                return rest[1:i]
    return None


_LAST_NUMBER = re.compile(r"[-−]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?")


def last_number(text: str) -> str | None:
    """The last number of a completion, thousands separators and all; None if there is none.

    >>> last_number("so 12 apples cost $1,250.50."), last_number("none")
    ('1,250.50', None)
    """
    found = _LAST_NUMBER.findall(text)
    return found[-1].replace("$", "") if found else None


def extractor(how: str) -> Callable[[str], str | None]:
    """What takes the answer out of a completion.

    Args:
        how: ``"boxed"``, ``"last-number"``, or a regular expression: of its last match the first group that took part,
            or all of it without groups.

    Raises:
        ValueError: it is no regular expression.

    >>> extractor("answer is (.*?)[.]")("The answer is 4. No: the answer is 5.")
    '5'
    """
    if how in ("boxed", "last-number"):
        return boxed if how == "boxed" else last_number
    try:
        pattern = re.compile(how, re.MULTILINE)
    except re.error as error:
        raise ValueError(
            f"extract: expected last-number, boxed or a regular expression, got {how!r}: {error}"
        ) from None

    def last_match(text: str) -> str | None:
        matches = list(pattern.finditer(text))
        if not matches:
            return None
        groups = [group for group in matches[-1].groups() if group is not None]
        return groups[0] if groups else matches[-1][0]

    return last_match


def key(equal: Equal) -> Callable[[str], str]:
    """The form of an answer in which it is compared.

    Args:
        equal: the rule; ``"math"`` compares what is normalised further, by :func:`same`.
    """
    return str if equal == "exact" else normalised


def same(one: str, other: str, equal: Equal) -> bool:
    """Whether two answers are the same.

    Args:
        one, other: the answers.
        equal: the rule.

    Raises:
        ImportError: ``"math"`` needs math-verify.

    >>> same("0.5", "1/2", "normalised"), same("0.5", "1/2", "exact")
    (True, False)
    """
    if equal == "exact":
        return one.strip() == other.strip()
    first, second = normalised(one), normalised(other)
    return first == second or (equal == "math" and _same_formula(first, second))


@lru_cache(maxsize=2**16)
def _same_formula(one: str, other: str) -> bool:
    if max(len(one), len(other)) > LONGEST:
        return False
    verify, first, second = check_math().verify, _formula(one), _formula(other)
    return bool(first and second and (verify(first, second) or verify(second, first)))


@lru_cache(maxsize=2**14)
def _formula(text: str) -> list[object]:
    parse = check_math().parse
    return list(parse(f"\\boxed{{{text}}}"))


@lru_cache(maxsize=1)
def check_math() -> Any:
    """math-verify.

    Raises:
        ImportError: it is not installed; the message says how to get it.
    """
    try:
        math_verify = importlib.import_module("math_verify")
    except ImportError as error:
        raise ImportError("equal: math needs math-verify: pip install 'ttc-fast[logs]'", name="math_verify") from error
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it tells every formula that it cannot read
    return math_verify
