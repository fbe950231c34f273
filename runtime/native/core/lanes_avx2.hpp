// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
//
// With AVX2: see lanes.hpp, which includes it.
#pragma once
#include <immintrin.h>

#include "kernels.hpp"

namespace spinert {
namespace {

constexpr std::size_t kLanes = 8;
constexpr std::size_t kParts = 2;

struct Quads {
    __m256i all;
};

/// One in each 32-bit lane.
struct Levels {
    __m256i all;
};

/// w = a + 2^15 b, in signed words: of the pixels with even, then with odd number.
struct Weights {
    __m256i even;
    __m256i odd;
    __m256i upper_even;
    __m256i upper_odd;

    static Weights of_outputs(const std::uint32_t* packed) noexcept {
        const auto at = [packed](std::size_t i) noexcept {
            return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed + i * kLanes));
        };
        return {at(0), at(1), at(2), at(3)};
    }
    static Weights of_all(const std::uint32_t* packed) noexcept {
        const auto at = [packed](std::size_t i) noexcept {
            return _mm256_set1_epi32(static_cast<int>(packed[i]));
        };
        return {at(0), at(1), at(2), at(3)};
    }
};

void pack(const std::int32_t* weights, std::uint32_t* packed) noexcept {
    const auto words = [](std::int32_t first, std::int32_t second) noexcept {
        return static_cast<std::uint32_t>(first) | (static_cast<std::uint32_t>(second) << 16);
    };
    for (std::size_t odd = 0; odd < 2; ++odd) {
        const std::int32_t* pair = weights + odd;
        packed[odd] = words(pair[0] & 0x7FFF, pair[2] & 0x7FFF);
        packed[odd + 2] = words(pair[0] >> 15, pair[2] >> 15);
    }
}

class Sum {
 public:
    void add(Quads quads, const Weights& weights) noexcept {
        const __m256i even = _mm256_and_si256(quads.all, _mm256_set1_epi16(255));
        const __m256i odd = _mm256_srli_epi16(quads.all, 8);
        const __m256i lower = _mm256_add_epi32(_mm256_madd_epi16(even, weights.even),
                                               _mm256_madd_epi16(odd, weights.odd));
        const __m256i upper = _mm256_add_epi32(_mm256_madd_epi16(even, weights.upper_even),
                                               _mm256_madd_epi16(odd, weights.upper_odd));
        lower_ = _mm256_add_epi32(lower_, lower);
        upper_ = _mm256_add_epi32(upper_, upper);
    }
    Levels level() const noexcept {
        return {_mm256_srli_epi32(_mm256_add_epi32(_mm256_slli_epi32(upper_, 15), lower_),
                                  kWeightBits)};
    }

 private:
    __m256i lower_ = _mm256_set1_epi32(kHalf);
    __m256i upper_ = _mm256_setzero_si256();
};

Levels level_of(Quads quads, const Weights& weights) noexcept {
    Sum sum;
    sum.add(quads, weights);
    return sum.level();
}

__m256i packed(const Four<Levels>& levels) noexcept {
    return _mm256_packus_epi16(_mm256_packus_epi32(levels.a.all, levels.b.all),
                               _mm256_packus_epi32(levels.c.all, levels.d.all));
}

[[gnu::always_inline]] inline void store_rows(const Four<Levels>& levels, std::uint8_t* const* out,
                                              std::size_t at) noexcept {
    // Packing works within halves of the register: undo that.
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i rows = _mm256_permutevar8x32_epi32(packed(levels), order);
    const __m128i low = _mm256_castsi256_si128(rows);
    const __m128i high = _mm256_extracti128_si256(rows, 1);
    const auto to = [out, at](std::size_t i) noexcept {
        return reinterpret_cast<__m128i*>(out[i] + at);
    };
    _mm_storel_epi64(to(0), low);
    _mm_storel_epi64(to(1), _mm_unpackhi_epi64(low, low));
    _mm_storel_epi64(to(2), high);
    _mm_storel_epi64(to(3), _mm_unpackhi_epi64(high, high));
}

[[gnu::always_inline]] inline void store_columns(const Four<Levels>& levels,
                                                 std::uint8_t* out) noexcept {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), packed(levels));
}

[[gnu::always_inline]] inline Four<Quads> interleave(const std::uint8_t* const* rows,
                                                     std::size_t at) noexcept {
    const auto row = [rows, at](std::size_t i) noexcept {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows[i] + at));
    };
    const __m256i ab_low = _mm256_unpacklo_epi8(row(0), row(1));
    const __m256i ab_high = _mm256_unpackhi_epi8(row(0), row(1));
    const __m256i cd_low = _mm256_unpacklo_epi8(row(2), row(3));
    const __m256i cd_high = _mm256_unpackhi_epi8(row(2), row(3));
    return {{_mm256_unpacklo_epi16(ab_low, cd_low)},
            {_mm256_unpackhi_epi16(ab_low, cd_low)},
            {_mm256_unpacklo_epi16(ab_high, cd_high)},
            {_mm256_unpackhi_epi16(ab_high, cd_high)}};
}

/// Picks the quads of a group out of a row, by permuting the bytes of either half.
class Picker {
 public:
    Picker(const Window* windows, std::size_t count) noexcept : windows_(windows), count_(count) {}

    Quads operator()(const std::uint8_t* row) const noexcept {
        __m256i quads = picked(windows_[0], row);
        for (std::size_t i = 1; i < count_; ++i) {
            quads = _mm256_or_si256(quads, picked(windows_[i], row));
        }
        return {quads};
    }

 private:
    static __m256i picked(const Window& window, const std::uint8_t* row) noexcept {
        const auto half = [&window, row](std::size_t part) noexcept {
            const std::uint8_t* pixels = row + window.offsets[part];
            return _mm_loadu_si128(reinterpret_cast<const __m128i*>(pixels));
        };
        const __m256i pixels = _mm256_inserti128_si256(_mm256_castsi128_si256(half(0)), half(1), 1);
        const auto* index = reinterpret_cast<const __m256i*>(window.index);
        return _mm256_shuffle_epi8(pixels, _mm256_loadu_si256(index));
    }
    const Window* windows_;
    std::size_t count_;
};

template <typename Use>
[[gnu::always_inline]] inline void with_picker(const Across& across, std::size_t group,
                                               const Use& use) noexcept {
    const Window* windows = across.windows + across.groups[group].window;
    switch (across.groups[group].windows) {
        case 1:
            return use(Picker(windows, 1));
        case 2:
            return use(Picker(windows, 2));
        default:
            return use(Picker(windows, across.groups[group].windows));
    }
}

}  // namespace
}  // namespace spinert
