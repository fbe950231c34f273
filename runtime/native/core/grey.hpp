// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels.hpp"

namespace spinert {

/// Smallest and largest of `count` >= 1 stored values.
template <typename Stored>
Range value_range(const Stored* stored, std::size_t count) noexcept;

/// What becomes of stored value v: levels[v - first]. Values outside [first, first + length) do
/// not occur, by a promise of the caller.
struct Stretch {
    std::int32_t first;
    const std::uint8_t* levels;
    std::size_t length;
};

/// A grey level for every bit pattern of `Stored`: no pixel can index outside of it, so looking
/// up needs no check, even of pixels that another process may be changing.
template <typename Stored>
class WholeTable {
 public:
    using Pattern = std::make_unsigned_t<Stored>;
    static constexpr std::size_t kSize = std::size_t{1} << (8 * sizeof(Stored));

    /// Values outside of `stretch` keep the level of an earlier frame.
    /// Needs -2^15 <= first and first + length <= 2^16.
    void set(Stretch stretch) noexcept {
        // Negative values follow the positive ones, as their bit patterns do.
        std::size_t done = 0;
        while (done < stretch.length) {
            const auto value = static_cast<std::uint32_t>(stretch.first) + done;
            const std::size_t at = static_cast<Pattern>(value);
            const std::size_t n = std::min(stretch.length - done, kSize - at);
            std::memcpy(levels_ + at, stretch.levels + done, n);
            done += n;
        }
    }
    /// Of every bit pattern.
    const std::uint8_t* levels() const noexcept { return levels_; }

 private:
    std::uint8_t levels_[kSize] = {};
};

/// counts[value - first] += 1; values outside [first, first + length) are left out.
template <typename Stored>
void count_values(const Stored* stored, std::size_t count, std::int32_t first,
                  std::uint32_t* counts, std::size_t length) noexcept;

}  // namespace spinert
