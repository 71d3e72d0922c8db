"""The one loader of the C++ extension ``ttc_fast._C`` (sources: ``csrc/``)."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import Final

from . import check

ISA_VARIABLE: Final = "TTC_FAST_ISA"
"""Environment variable that names the instruction set to use, for tests; default: the fastest."""


def _load() -> tuple[ModuleType | None, str]:
    try:
        return importlib.import_module("ttc_fast._C"), ""
    except ImportError as error:
        if sys.platform == "win32":
            return None, "the C++ extension is not built on Windows, whose compiler lacks vectors; use Linux, as in WSL"
        return None, f"the C++ extension is not built ({error}); install a C++17 compiler and repeat pip install"


module, MISSING = _load()
"""The extension or None, and the reason if there is none."""


def loaded() -> ModuleType:
    """The extension.

    Raises:
        ValueError: it is not built; the message says how to get it.
    """
    if module is None:
        raise ValueError(MISSING)
    return module


def isas() -> list[str]:
    """The instruction sets that this machine can run, fastest first; none without the extension."""
    return [] if module is None else list(module.isas())


def isa() -> str:
    """The instruction set in use.

    Raises:
        ValueError: the environment names one that this machine cannot run.
    """
    names = isas()
    chosen = os.environ.get(ISA_VARIABLE, names[0])
    check.choice(ISA_VARIABLE, chosen, names)
    return chosen
