// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <cstdint>

namespace spinert {

struct Range {
    std::int32_t smallest;
    std::int32_t largest;
};

/// Smallest and largest of `count` >= 1 stored values.
template <typename Stored>
Range value_range(const Stored* stored, std::size_t count) noexcept;

/// counts[value - first] += 1. Every value must lie in [first, first + size of counts).
template <typename Stored>
void count_values(const Stored* stored, std::size_t count, std::int32_t first,
                  std::uint32_t* counts) noexcept;

/// out[i] = table[stored[i] - first]. Every value must lie in [first, first + size of table).
template <typename Stored>
void look_up(const Stored* stored, std::size_t count, std::int32_t first, const std::uint8_t* table,
             std::uint8_t* out) noexcept;

}  // namespace spinert
