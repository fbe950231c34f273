// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
//
// Unsigned 16-bit numbers, as many as a register has, for the instruction set this file is compiled
// for; private to the including file as lanes.hpp is.
#pragma once
#include "kernels.hpp"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace spinert {
namespace {

#if defined(__AVX512BW__)

struct Words {
    __m512i all;
    static constexpr std::size_t kCount = 32;

    static Words of(std::uint16_t word) noexcept {
        return {_mm512_set1_epi16(static_cast<short>(word))};
    }
    static Words at(const std::uint16_t* from) noexcept { return {_mm512_loadu_si512(from)}; }
    Words flipped(Words bits) const noexcept { return {_mm512_xor_si512(all, bits.all)}; }
    Words above(Words start) const noexcept { return {_mm512_subs_epu16(all, start.all)}; }
    Words plus(Words more) const noexcept { return {_mm512_add_epi16(all, more.all)}; }
    Words upper_product(Words by) const noexcept { return {_mm512_mulhi_epu16(all, by.all)}; }
    Words lower_product(Words by) const noexcept { return {_mm512_mullo_epi16(all, by.all)}; }
    Words mean(Words other) const noexcept { return {_mm512_avg_epu16(all, other.all)}; }
    Words shifted(int bits) const noexcept {
        return {_mm512_srl_epi16(all, _mm_cvtsi32_si128(bits))};
    }
    /// Both as bytes, at most 255; below 2^15.
    static void store(Words first, Words second, std::uint8_t* to) noexcept {
        // Packing works within quarters of the register: undo that.
        const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
        const __m512i packed = _mm512_packus_epi16(first.all, second.all);
        _mm512_storeu_si512(to, _mm512_permutexvar_epi64(order, packed));
    }
};

#elif defined(__AVX2__)

struct Words {
    __m256i all;
    static constexpr std::size_t kCount = 16;

    static Words of(std::uint16_t word) noexcept {
        return {_mm256_set1_epi16(static_cast<short>(word))};
    }
    static Words at(const std::uint16_t* from) noexcept {
        return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))};
    }
    Words flipped(Words bits) const noexcept { return {_mm256_xor_si256(all, bits.all)}; }
    Words above(Words start) const noexcept { return {_mm256_subs_epu16(all, start.all)}; }
    Words plus(Words more) const noexcept { return {_mm256_add_epi16(all, more.all)}; }
    Words upper_product(Words by) const noexcept { return {_mm256_mulhi_epu16(all, by.all)}; }
    Words lower_product(Words by) const noexcept { return {_mm256_mullo_epi16(all, by.all)}; }
    Words mean(Words other) const noexcept { return {_mm256_avg_epu16(all, other.all)}; }
    Words shifted(int bits) const noexcept {
        return {_mm256_srl_epi16(all, _mm_cvtsi32_si128(bits))};
    }
    static void store(Words first, Words second, std::uint8_t* to) noexcept {
        const __m256i packed = _mm256_packus_epi16(first.all, second.all);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                            _mm256_permute4x64_epi64(packed, _MM_SHUFFLE(3, 1, 2, 0)));
    }
};

#elif defined(__SSE2__)

struct Words {
    __m128i all;
    static constexpr std::size_t kCount = 8;

    static Words of(std::uint16_t word) noexcept {
        return {_mm_set1_epi16(static_cast<short>(word))};
    }
    static Words at(const std::uint16_t* from) noexcept {
        return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))};
    }
    Words flipped(Words bits) const noexcept { return {_mm_xor_si128(all, bits.all)}; }
    Words above(Words start) const noexcept { return {_mm_subs_epu16(all, start.all)}; }
    Words plus(Words more) const noexcept { return {_mm_add_epi16(all, more.all)}; }
    Words upper_product(Words by) const noexcept { return {_mm_mulhi_epu16(all, by.all)}; }
    Words lower_product(Words by) const noexcept { return {_mm_mullo_epi16(all, by.all)}; }
    Words mean(Words other) const noexcept { return {_mm_avg_epu16(all, other.all)}; }
    Words shifted(int bits) const noexcept { return {_mm_srl_epi16(all, _mm_cvtsi32_si128(bits))}; }
    static void store(Words first, Words second, std::uint8_t* to) noexcept {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(first.all, second.all));
    }
};

#else

struct Words {
    std::uint16_t word;
    static constexpr std::size_t kCount = 1;

    static Words of(std::uint32_t word) noexcept { return {static_cast<std::uint16_t>(word)}; }
    static Words at(const std::uint16_t* from) noexcept { return {*from}; }
    Words flipped(Words bits) const noexcept { return of(std::uint32_t{word} ^ bits.word); }
    Words above(Words start) const noexcept {
        return of(word > start.word ? std::uint32_t{word} - start.word : 0);
    }
    Words plus(Words more) const noexcept { return of(std::uint32_t{word} + more.word); }
    Words upper_product(Words by) const noexcept {
        return of((std::uint32_t{word} * by.word) >> 16);
    }
    Words lower_product(Words by) const noexcept { return of(std::uint32_t{word} * by.word); }
    Words mean(Words other) const noexcept {
        return of((std::uint32_t{word} + other.word + 1) >> 1);
    }
    Words shifted(int bits) const noexcept { return of(std::uint32_t{word} >> bits); }
    static void store(Words first, Words second, std::uint8_t* to) noexcept {
        to[0] = static_cast<std::uint8_t>(first.word < 255 ? first.word : 255);
        to[1] = static_cast<std::uint8_t>(second.word < 255 ? second.word : 255);
    }
};

#endif

}  // namespace
}  // namespace spinert
