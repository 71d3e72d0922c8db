// Python module ttc_fast._C.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <stdexcept>

#include "philox.h"

namespace py = pybind11;

namespace {

using WordArray = py::array_t<std::uint32_t, py::array::c_style>;

WordArray philox(const WordArray& counters, std::uint64_t seed) {
  if (counters.ndim() != 2 || counters.shape(1) != 4) {
    throw std::invalid_argument("counters: expected shape [n, 4], one counter a row");
  }
  WordArray words({counters.shape(0), py::ssize_t{4}});
  const auto in = counters.unchecked<2>();
  auto out = words.mutable_unchecked<2>();
  for (py::ssize_t i = 0; i < in.shape(0); ++i) {
    const auto result = ttc_fast::philox4x32_10({in(i, 0), in(i, 1), in(i, 2), in(i, 3)}, seed);
    for (int r = 0; r < 4; ++r) out(i, r) = result[r];
  }
  return words;
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "C++ side of ttc_fast.";
  m.def("philox", &philox, py::arg("counters").noconvert(), py::arg("seed"),
        "Philox4x32-10 of uint32 counters [n, 4] under the key (seed low, seed high): uint32 words [n, 4].");
}
