"""Random calls of all that is public with odd arguments.

``python tests/fuzz/calls.py COUNT SEED`` makes them and prints, as JSON, those that ended in another exception than a
``ValueError`` or ``TypeError`` that names an argument.
"""

from __future__ import annotations

import io
import json
import random
import re
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np

from fuzz.cases import CASES
from fuzz.nasty import nasty

CALLED = ("progress", "make", "verifier", "techniques", "watch")
"""Arguments that are called, if they can be."""


OF_PARTS = {"ones", "examples", "technique", "noise_scale", "strength", "initial", "w_r"}
"""Arguments of parts that are given: a rule, a verifier or a technique that does not fit the rest."""


def named(message: str, names: set[str]) -> bool:
    """Whether an error says which argument it is about."""
    return any(re.search(rf"\b{re.escape(name)}\b", message) for name in names)


def departures(count: int, seed: int, log: Path | None = None) -> list[str]:
    """What random calls brought up that it should not have.

    Args:
        count: of calls.
        seed: of them.
        log: where each call is noted before it is made, for one that does not return.
    """
    draw, found = random.Random(seed), []
    labels, weights = list(CASES), [case.weight for case in CASES.values()]
    for number in range(count):
        label = draw.choices(labels, weights)[0]
        case = CASES[label]
        arguments = case.arguments()
        changed = draw.sample(list(arguments), min(len(arguments), draw.choice((1, 1, 1, 2, 3))))
        arguments |= {name: nasty(draw) for name in changed}
        told = f"{number}: {label}({', '.join(f'{n}={_short(arguments[n])}' for n in changed)})"
        if log is not None:
            log.write_text(told)
        if any(name in CALLED and callable(arguments[name]) for name in changed):
            continue  # what a user's own function raises is its own
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                case.function(**arguments)
        except (ValueError, TypeError) as error:
            if not named(str(error), {*arguments, *case.names.split(), *OF_PARTS}):
                found.append(f"{told}: not named: {type(error).__name__}: {error} {_place(error)}")
        except (OSError, ImportError) as error:
            if not case.files:
                found.append(f"{told}: {type(error).__name__}: {error} {_place(error)}")
        except Exception as error:
            found.append(f"{told}: {type(error).__name__}: {error} {_place(error)}")
    return found


def _short(value: object) -> str:
    try:
        return repr(value).replace("\n", " ")[:120]
    except Exception as error:  # of a meta tensor
        return f"{type(value).__name__} ({error})"


def _place(error: BaseException) -> str:
    """The last lines of ours that it passed."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "ttc_fast" in f.filename]
    return " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-3:]))


if __name__ == "__main__":
    stdout, sys.stdout = sys.stdout, io.StringIO()  # what calls print is not the result
    result = departures(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
    print(json.dumps(result), file=stdout)
