// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC 2011). Counterpart of ttc_fast/numerics/rng.py, where the layout of
// the counter is defined, and of kernels/philox.py.
#pragma once

#include <array>
#include <cstdint>

namespace ttc_fast {

using Words = std::array<std::uint32_t, 4>;

inline Words philox4x32_10(Words counter, std::uint64_t seed) {
  constexpr std::uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr std::uint32_t kIncrement0 = 0x9E3779B9, kIncrement1 = 0xBB67AE85;
  auto key0 = static_cast<std::uint32_t>(seed);
  auto key1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = kMultiplier0 * counter[0];
    const std::uint64_t product1 = kMultiplier1 * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key0,
               static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key1,
               static_cast<std::uint32_t>(product0)};
    key0 += kIncrement0;
    key1 += kIncrement1;
  }
  return counter;
}

}  // namespace ttc_fast
