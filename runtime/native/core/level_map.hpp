// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#pragma once
#include <optional>

#include "ramp.hpp"

namespace spinert {

/// Stored values -> levels, in the fastest way that gives the levels of a table.
template <typename Stored>
class LevelMap {
 public:
    /// Values outside of `stretch` may have any level.
    void set(const Kernels& kernels, Stretch stretch) {
        if constexpr (sizeof(Stored) == 2) {
            ramp_ = ramp_from_stretch(kernels, stretch, std::is_signed_v<Stored>);
        }
        if (!ramp_) {
            table_.set(stretch);
        }
    }

    void apply(const Kernels& kernels, const Stored* stored, std::size_t count,
               std::uint8_t* levels) const noexcept {
        if constexpr (sizeof(Stored) == 1) {
            kernels.look_up(stored, count, table_.levels(), levels);
        } else if (ramp_) {
            kernels.climb(reinterpret_cast<const std::uint16_t*>(stored), count, *ramp_, levels);
        } else {
            look_up(stored, count, levels);
        }
    }

 private:
    void look_up(const Stored* stored, std::size_t count, std::uint8_t* levels) const noexcept {
        const std::uint8_t* table = table_.levels();
        std::size_t i = 0;
        for (; i + 8 <= count; i += 8) {
            // One store for eight look-ups.
            std::uint64_t eight = 0;
            for (std::size_t j = 0; j < 8; ++j) {
                const auto at = static_cast<std::make_unsigned_t<Stored>>(stored[i + j]);
                eight |= static_cast<std::uint64_t>(table[at]) << (8 * j);
            }
            std::memcpy(levels + i, &eight, sizeof eight);
        }
        for (; i < count; ++i) {
            levels[i] = table[static_cast<std::make_unsigned_t<Stored>>(stored[i])];
        }
    }

    std::optional<Ramp> ramp_;
    WholeTable<Stored> table_;
};

}  // namespace spinert
