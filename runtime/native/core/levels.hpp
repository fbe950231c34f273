// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
//
// Stored values to levels, and counts of levels, for the instruction set this file is compiled
// for; private to the including file as lanes.hpp is.
#pragma once
#include "words.hpp"

namespace spinert {
namespace {

void climb(const std::uint16_t* stored, std::size_t count, Ramp ramp,
           std::uint8_t* levels) noexcept {
    constexpr std::size_t kAtOnce = 2 * Words::kCount;
    const Words flip = Words::of(ramp.flip);
    const Words start = Words::of(ramp.start);
    const Words high = Words::of(ramp.high);
    const Words low = Words::of(ramp.low);
    const Words offset = Words::of(ramp.offset);
    const auto level = [=](const std::uint16_t* from) noexcept {
        const Words x = Words::at(from).flipped(flip).above(start);
        // Halves of halves, so that no sum overflows: the two highest bits are the carry.
        const Words below =
            x.lower_product(high).mean(x.upper_product(low)).mean(offset).shifted(14);
        return x.upper_product(high).plus(below).shifted(ramp.shift);
    };
    std::size_t i = 0;
    for (; i + kAtOnce <= count; i += kAtOnce) {
        Words::store(level(stored + i), level(stored + i + Words::kCount), levels + i);
    }
    if (i < count) {
        std::uint16_t last[kAtOnce] = {};
        std::uint8_t found[kAtOnce];
        __builtin_memcpy(last, stored + i, (count - i) * sizeof *stored);
        Words::store(level(last), level(last + Words::kCount), found);
        __builtin_memcpy(levels + i, found, count - i);
    }
}

void count_levels(const std::uint8_t* levels, std::size_t count, LevelBounds bounds,
                  LevelCounts& counts) noexcept {
    // Bytes are counted in bytes, which overflow after 255 lines.
    constexpr std::size_t kLine = 64;
    constexpr std::size_t kMost = 255 * kLine;
    for (std::size_t start = 0; start < count; start += kMost) {
        const std::size_t end = start + kMost < count ? start + kMost : count;
        std::uint8_t found[4][kLine] = {};
        const auto add = [&found, bounds](std::size_t j, std::uint8_t level) noexcept {
            found[0][j] = static_cast<std::uint8_t>(found[0][j] + (level == 0));
            found[1][j] = static_cast<std::uint8_t>(found[1][j] + (level <= bounds.low));
            found[2][j] = static_cast<std::uint8_t>(found[2][j] + (level >= bounds.high));
            found[3][j] = static_cast<std::uint8_t>(found[3][j] + (level == 255));
        };
        std::size_t i = start;
        for (; i + kLine <= end; i += kLine) {
            for (std::size_t j = 0; j < kLine; ++j) {
                add(j, levels[i + j]);
            }
        }
        for (std::size_t j = 0; i + j < end; ++j) {
            add(j, levels[i + j]);
        }
        for (std::size_t j = 0; j < kLine; ++j) {
            counts.darkest += found[0][j];
            counts.up_to_low += found[1][j];
            counts.from_high += found[2][j];
            counts.brightest += found[3][j];
        }
    }
}

#if defined(__AVX512VBMI__)

/// 256 levels are four registers.
void look_up(const std::uint8_t* stored, std::size_t count, const std::uint8_t* table,
             std::uint8_t* levels) noexcept {
    const __m512i first = _mm512_loadu_si512(table);
    const __m512i second = _mm512_loadu_si512(table + 64);
    const __m512i third = _mm512_loadu_si512(table + 128);
    const __m512i fourth = _mm512_loadu_si512(table + 192);
    for (std::size_t i = 0; i < count; i += 64) {
        const std::size_t left = count - i;
        const __mmask64 there = left >= 64 ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
        const __m512i values = _mm512_maskz_loadu_epi8(there, stored + i);
        const __m512i lower = _mm512_permutex2var_epi8(first, values, second);
        const __m512i upper = _mm512_permutex2var_epi8(third, values, fourth);
        const __m512i found = _mm512_mask_blend_epi8(_mm512_movepi8_mask(values), lower, upper);
        _mm512_mask_storeu_epi8(levels + i, there, found);
    }
}

#else

void look_up(const std::uint8_t* stored, std::size_t count, const std::uint8_t* table,
             std::uint8_t* levels) noexcept {
    std::size_t i = 0;
#if defined(__AVX2__)
    for (; i + 32 <= count; i += 32) {
        const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(stored + i));
        __m256i found = _mm256_setzero_si256();
        for (int part = 0; part < 16; ++part) {
            // Of values outside of this sixteenth of the table the highest bit is set.
            const __m256i at = _mm256_adds_epu8(
                _mm256_xor_si256(values, _mm256_set1_epi8(static_cast<char>(16 * part))),
                _mm256_set1_epi8(0x70));
            const __m256i sixteen = _mm256_broadcastsi128_si256(
                _mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 16 * part)));
            found = _mm256_or_si256(found, _mm256_shuffle_epi8(sixteen, at));
        }
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(levels + i), found);
    }
#endif
    // One store for eight: a store to bytes could be one to the table, for all the compiler knows.
    for (; i + 8 <= count; i += 8) {
        std::uint8_t eight[8];
        for (std::size_t j = 0; j < 8; ++j) {
            eight[j] = table[stored[i + j]];
        }
        __builtin_memcpy(levels + i, eight, sizeof eight);
    }
    for (; i < count; ++i) {
        levels[i] = table[stored[i]];
    }
}

#endif

}  // namespace
}  // namespace spinert
