"""Numbers that JSON can hold, and files that are written whole or not at all (:mod:`ttc_fast.numerics.files`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..numerics.files import check_outputs as check_outputs
from ..numerics.files import check_writable as check_writable
from ..numerics.files import write as write


def finite(fields: Mapping[str, Any]) -> dict[str, Any]:
    """For JSON, which has no infinity and no NaN: they become None."""
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in fields.items()}
