// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
//
// With AVX-512 VBMI and VNNI: see lanes.hpp, which includes it.
#pragma once
#include <immintrin.h>

#include "kernels.hpp"

namespace spinert {
namespace {

constexpr std::size_t kLanes = 16;
constexpr std::size_t kParts = 1;

struct Quads {
    __m512i all;
};

/// One in each 32-bit lane.
struct Levels {
    __m512i all;
};

/// Weights in three signed bytes each: w = a + 2^8 b + 2^16 c.
struct Weights {
    __m512i lower;
    __m512i middle;
    __m512i upper;

    static Weights of_outputs(const std::uint32_t* packed) noexcept {
        return {_mm512_loadu_si512(packed), _mm512_loadu_si512(packed + kLanes),
                _mm512_loadu_si512(packed + 2 * kLanes)};
    }
    static Weights of_all(const std::uint32_t* packed) noexcept {
        return {_mm512_set1_epi32(static_cast<int>(packed[0])),
                _mm512_set1_epi32(static_cast<int>(packed[1])),
                _mm512_set1_epi32(static_cast<int>(packed[2]))};
    }
};

void pack(const std::int32_t* weights, std::uint32_t* packed) noexcept {
    packed[0] = packed[1] = packed[2] = packed[3] = 0;
    for (unsigned tap = 0; tap < kQuad; ++tap) {
        std::int32_t rest = weights[tap];
        for (unsigned part = 0; part < 3; ++part) {
            const auto digit = static_cast<std::uint32_t>(rest) & 255;
            packed[part] |= digit << (8 * tap);
            rest = (rest - static_cast<std::int8_t>(digit)) >> 8;
        }
    }
}

class Sum {
 public:
    void add(Quads quads, const Weights& weights) noexcept {
        lower_ = _mm512_dpbusd_epi32(lower_, quads.all, weights.lower);
        middle_ = _mm512_dpbusd_epi32(middle_, quads.all, weights.middle);
        upper_ = _mm512_dpbusd_epi32(upper_, quads.all, weights.upper);
    }
    Levels level() const noexcept {
        const __m512i above = _mm512_add_epi32(_mm512_slli_epi32(upper_, 8), middle_);
        return {
            _mm512_srli_epi32(_mm512_add_epi32(_mm512_slli_epi32(above, 8), lower_), kWeightBits)};
    }

 private:
    __m512i lower_ = _mm512_set1_epi32(kHalf);
    __m512i middle_ = _mm512_setzero_si512();
    __m512i upper_ = _mm512_setzero_si512();
};

/// The same of one quad alone, in fewer steps.
Levels level_of(Quads quads, const Weights& weights) noexcept {
    const __m512i half = _mm512_set1_epi32(kHalf >> 16);
    const __m512i upper = _mm512_slli_epi32(_mm512_dpbusd_epi32(half, quads.all, weights.upper), 8);
    const __m512i above =
        _mm512_slli_epi32(_mm512_dpbusd_epi32(upper, quads.all, weights.middle), 8);
    return {_mm512_srli_epi32(_mm512_dpbusd_epi32(above, quads.all, weights.lower), kWeightBits)};
}

/// Levels to rows of their own.
[[gnu::always_inline]] inline void store_rows(const Four<Levels>& levels, std::uint8_t* const* out,
                                              std::size_t at) noexcept {
    const auto store = [out, at](std::size_t row, Levels of_row) noexcept {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out[row] + at),
                         _mm512_cvtusepi32_epi8(of_row.all));
    };
    store(0, levels.a);
    store(1, levels.b);
    store(2, levels.c);
    store(3, levels.d);
}

/// Levels of interleaved quads.
[[gnu::always_inline]] inline void store_columns(const Four<Levels>& levels,
                                                 std::uint8_t* out) noexcept {
    const __m512i left = _mm512_packus_epi32(levels.a.all, levels.b.all);
    const __m512i right = _mm512_packus_epi32(levels.c.all, levels.d.all);
    _mm512_storeu_si512(out, _mm512_packus_epi16(left, right));
}

/// Four rows, 4 * kLanes columns.
[[gnu::always_inline]] inline Four<Quads> interleave(const std::uint8_t* const* rows,
                                                     std::size_t at) noexcept {
    const __m512i a = _mm512_loadu_si512(rows[0] + at);
    const __m512i b = _mm512_loadu_si512(rows[1] + at);
    const __m512i c = _mm512_loadu_si512(rows[2] + at);
    const __m512i d = _mm512_loadu_si512(rows[3] + at);
    const __m512i ab_low = _mm512_unpacklo_epi8(a, b);
    const __m512i ab_high = _mm512_unpackhi_epi8(a, b);
    const __m512i cd_low = _mm512_unpacklo_epi8(c, d);
    const __m512i cd_high = _mm512_unpackhi_epi8(c, d);
    return {{_mm512_unpacklo_epi16(ab_low, cd_low)},
            {_mm512_unpackhi_epi16(ab_low, cd_low)},
            {_mm512_unpacklo_epi16(ab_high, cd_high)},
            {_mm512_unpackhi_epi16(ab_high, cd_high)}};
}

/// Picks the quads of a group out of a row, by permuting bytes.
template <std::size_t kWindows>
class Picker {
 public:
    explicit Picker(const Window* windows) noexcept {
        for (std::size_t i = 0; i < kWindows; ++i) {
            offsets_[i] = windows[i].offsets[0];
            indices_[i] = _mm512_loadu_si512(windows[i].index);
            there_[i] = ~_mm512_movepi8_mask(indices_[i]);
        }
    }
    Quads operator()(const std::uint8_t* row) const noexcept {
        // Only where nothing follows may bytes of another window be anything.
        __m512i quads = _mm512_permutexvar_epi8(indices_[0], _mm512_loadu_si512(row + offsets_[0]));
        for (std::size_t i = 1; i < kWindows; ++i) {
            quads = _mm512_mask_permutexvar_epi8(quads, there_[i], indices_[i],
                                                 _mm512_loadu_si512(row + offsets_[i]));
        }
        return {quads};
    }

 private:
    __m512i indices_[kWindows];
    __mmask64 there_[kWindows];
    std::ptrdiff_t offsets_[kWindows];
};

/// For any number of windows.
template <>
class Picker<0> {
 public:
    Picker(const Window* windows, std::size_t count) noexcept : windows_(windows), count_(count) {}

    Quads operator()(const std::uint8_t* row) const noexcept {
        __m512i quads = _mm512_setzero_si512();
        for (std::size_t i = 0; i < count_; ++i) {
            const __m512i index = _mm512_loadu_si512(windows_[i].index);
            quads = _mm512_mask_permutexvar_epi8(quads, ~_mm512_movepi8_mask(index), index,
                                                 _mm512_loadu_si512(row + windows_[i].offsets[0]));
        }
        return {quads};
    }

 private:
    const Window* windows_;
    std::size_t count_;
};

template <typename Use>
[[gnu::always_inline]] inline void with_picker(const Across& across, std::size_t group,
                                               const Use& use) noexcept {
    const Window* windows = across.windows + across.groups[group].window;
    switch (across.groups[group].windows) {
        case 1:
            return use(Picker<1>(windows));
        case 2:
            return use(Picker<2>(windows));
        case 3:
            return use(Picker<3>(windows));
        case 4:
            return use(Picker<4>(windows));
        default:
            return use(Picker<0>(windows, across.groups[group].windows));
    }
}

}  // namespace
}  // namespace spinert
