// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
//
// The arrays that cross between Python and the core, and what must hold for them.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>

#include "grey.hpp"

template <typename Stored>
using StoredArray =
    nanobind::ndarray<const Stored, nanobind::ndim<2>, nanobind::c_contig, nanobind::device::cpu>;
using Grey =
    nanobind::ndarray<std::uint8_t, nanobind::ndim<2>, nanobind::c_contig, nanobind::device::cpu>;
using Table = nanobind::ndarray<const std::uint8_t, nanobind::ndim<1>, nanobind::c_contig,
                                nanobind::device::cpu>;
using Counts =
    nanobind::ndarray<std::uint32_t, nanobind::ndim<1>, nanobind::c_contig, nanobind::device::cpu>;

template <typename Stored>
void require_pixels(const StoredArray<Stored>& stored) {
    if (stored.size() == 0) {
        throw nanobind::value_error("stored must hold at least one pixel");
    }
}

/// Longer tables would wrap around the stored values' bit patterns.
inline spinert::Stretch stretch_from(std::int32_t first, const Table& table) {
    if (first < -0x8000 || first > 0xFFFF ||
        table.size() > static_cast<std::size_t>(0x10000 - first)) {
        throw nanobind::value_error("the table reaches beyond all stored values");
    }
    return {first, table.data(), table.size()};
}
