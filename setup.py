"""The C++ extension ``ttc_fast._C``; all else is in pyproject.toml."""

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import setup

# optional: without a working compiler the install goes on, and the library says what is missing.
extension = Pybind11Extension(
    "ttc_fast._C", ["csrc/bindings.cpp"], depends=["csrc/philox.h"], cxx_std=17, optional=True
)

setup(ext_modules=[extension], cmdclass={"build_ext": build_ext})
