"""Votes are tested twice: with C++ and with the reference in numpy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ttc_fast.numerics import extension


@pytest.fixture(scope="module", params=["C++", "numpy"])
def implementation(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the implementation that the tests of a module run with."""
    if request.param == "C++" and extension.module is None:
        pytest.skip("the C++ extension is not built")
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "numpy":
            patch.setattr(extension, "module", None)
        yield request.param
