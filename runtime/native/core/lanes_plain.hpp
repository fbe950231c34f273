// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
//
// In plain C++, which compilers turn into vectors: see lanes.hpp, which includes it.
#pragma once
#include "kernels.hpp"

namespace spinert {
namespace {

constexpr std::size_t kLanes = 16;
constexpr std::size_t kParts = 1;

/// Quads as rows of pixels below each other.
struct Quads {
    std::uint8_t pixels[kQuad][kLanes];

    std::int32_t pixel(std::size_t tap, std::size_t lane) const noexcept {
        return pixels[tap][lane];
    }
};

/// Quads out of one row, the first pixel lowest.
struct PickedQuads {
    std::uint32_t four[kLanes];

    std::int32_t pixel(std::size_t tap, std::size_t lane) const noexcept {
        return static_cast<std::int32_t>((four[lane] >> (8 * tap)) & 255);
    }
};

struct Weights {
    std::int32_t of_tap[kQuad][kLanes];

    static Weights of_outputs(const std::uint32_t* packed) noexcept {
        Weights weights;
        __builtin_memcpy(weights.of_tap, packed, sizeof weights.of_tap);
        return weights;
    }
    static Weights of_all(const std::uint32_t* packed) noexcept {
        Weights weights;
        for (std::size_t tap = 0; tap < kQuad; ++tap) {
            for (auto& weight : weights.of_tap[tap]) {
                weight = static_cast<std::int32_t>(packed[tap]);
            }
        }
        return weights;
    }
};

void pack(const std::int32_t* weights, std::uint32_t* packed) noexcept {
    for (std::size_t tap = 0; tap < kQuad; ++tap) {
        packed[tap] = static_cast<std::uint32_t>(weights[tap]);
    }
}

struct Levels {
    std::uint8_t of_lane[kLanes];

    void store(std::uint8_t* out) const noexcept { __builtin_memcpy(out, of_lane, kLanes); }
};

class Sum {
 public:
    Sum() noexcept {
        for (auto& sum : sums_) {
            sum = kHalf;
        }
    }
    template <typename AnyQuads>
    void add(const AnyQuads& quads, const Weights& weights) noexcept {
        for (std::size_t lane = 0; lane < kLanes; ++lane) {
            std::int32_t sum = sums_[lane];
            for (std::size_t tap = 0; tap < kQuad; ++tap) {
                sum += quads.pixel(tap, lane) * weights.of_tap[tap][lane];
            }
            sums_[lane] = sum;
        }
    }
    Levels level() const noexcept {
        Levels levels;
        for (std::size_t lane = 0; lane < kLanes; ++lane) {
            const std::int32_t level = sums_[lane] >> kWeightBits;
            levels.of_lane[lane] = static_cast<std::uint8_t>(level < 255 ? level : 255);
        }
        return levels;
    }

 private:
    std::int32_t sums_[kLanes];
};

template <typename AnyQuads>
Levels level_of(const AnyQuads& quads, const Weights& weights) noexcept {
    Sum sum;
    sum.add(quads, weights);
    return sum.level();
}

[[gnu::always_inline]] inline void store_rows(const Four<Levels>& levels, std::uint8_t* const* out,
                                              std::size_t at) noexcept {
    levels.a.store(out[0] + at);
    levels.b.store(out[1] + at);
    levels.c.store(out[2] + at);
    levels.d.store(out[3] + at);
}

[[gnu::always_inline]] inline void store_columns(const Four<Levels>& levels,
                                                 std::uint8_t* out) noexcept {
    levels.a.store(out);
    levels.b.store(out + kLanes);
    levels.c.store(out + 2 * kLanes);
    levels.d.store(out + 3 * kLanes);
}

[[gnu::always_inline]] inline Four<Quads> interleave(const std::uint8_t* const* rows,
                                                     std::size_t at) noexcept {
    const auto quads_at = [rows](std::size_t from) noexcept {
        Quads quads;
        for (std::size_t tap = 0; tap < kQuad; ++tap) {
            __builtin_memcpy(quads.pixels[tap], rows[tap] + from, kLanes);
        }
        return quads;
    };
    return {quads_at(at), quads_at(at + kLanes), quads_at(at + 2 * kLanes),
            quads_at(at + 3 * kLanes)};
}

class Picker {
 public:
    Picker(const Across& across, std::size_t group) noexcept
        : firsts_(across.firsts + group * kLanes) {}

    PickedQuads operator()(const std::uint8_t* row) const noexcept {
        PickedQuads quads;
        for (std::size_t lane = 0; lane < kLanes; ++lane) {
            const std::uint8_t* pixels = row + firsts_[lane];
            quads.four[lane] = pixels[0] | std::uint32_t{pixels[1]} << 8 |
                               std::uint32_t{pixels[2]} << 16 | std::uint32_t{pixels[3]} << 24;
        }
        return quads;
    }

 private:
    const std::int32_t* firsts_;
};

template <typename Use>
[[gnu::always_inline]] inline void with_picker(const Across& across, std::size_t group,
                                               const Use& use) noexcept {
    use(Picker(across, group));
}

}  // namespace
}  // namespace spinert
