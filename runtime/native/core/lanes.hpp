// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
//
// Quads of pixels and their weighted sums, for the instruction set this file is compiled for.
// Everything is private to the including file: code of a newer instruction set must never be
// shared with that of an older one.
//
// Each instruction set has
//   kLanes, kParts          outputs of a register, and parts of it that are picked on their own
//   Quads                   four pixels of as many outputs
//   Weights, pack           the weights of one quad: of each output, or the same of all
//   Sum                     of quads times weights, as many as lanes; level() gives Levels
//   level_of                Levels of one quad alone
//   store_rows              four Levels to four rows
//   interleave              quads of pixels below each other, for 4 * kLanes columns
//   store_columns           four Levels of interleaved quads to one row
//   with_picker             calls with a function that picks the quads of a group out of a row
#pragma once
#include "kernels.hpp"

namespace spinert {
namespace {

constexpr std::int32_t kHalf = 1 << (kWeightBits - 1);

/// By name and not as an array, which would have to be in memory.
template <typename T>
struct Four {
    T a;
    T b;
    T c;
    T d;
};

/// What `of` makes of each.
template <typename T, typename Of>
[[gnu::always_inline]] inline auto four_of(const Four<T>& four, const Of& of) noexcept {
    return Four<decltype(of(four.a))>{of(four.a), of(four.b), of(four.c), of(four.d)};
}

}  // namespace
}  // namespace spinert

#if defined(__AVX512VNNI__) && defined(__AVX512VBMI__)
#include "lanes_vnni.hpp"
#elif defined(__AVX2__)
#include "lanes_avx2.hpp"
#else
#include "lanes_plain.hpp"
#endif
