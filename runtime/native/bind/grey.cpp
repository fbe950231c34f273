// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#include "grey.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <typename Stored>
using Image = nb::ndarray<const Stored, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Grey = nb::ndarray<std::uint8_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Table = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Counts = nb::ndarray<std::uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <typename Stored>
spinert::Range range_of(const Image<Stored>& stored) {
    if (stored.size() == 0) {
        throw nb::value_error("stored must hold at least one pixel");
    }
    nb::gil_scoped_release release;
    return spinert::value_range(stored.data(), stored.size());
}

// An index outside the table would read foreign memory, so the range is always checked first.
template <typename Stored>
void require_covered(const Image<Stored>& stored, std::int32_t first, std::size_t length) {
    const auto [smallest, largest] = range_of(stored);
    if (smallest < first || largest >= first + static_cast<std::int64_t>(length)) {
        throw nb::value_error("a stored value lies outside the table");
    }
}

template <typename Stored>
void register_stored(nb::module_& m) {
    m.def(
        "value_range",
        [](const Image<Stored>& stored) {
            const auto range = range_of(stored);
            return std::pair{range.smallest, range.largest};
        },
        "stored"_a.noconvert());
    m.def(
        "count_values",
        [](const Image<Stored>& stored, std::int32_t first, Counts& counts) {
            require_covered(stored, first, counts.size());
            nb::gil_scoped_release release;
            spinert::count_values(stored.data(), stored.size(), first, counts.data());
        },
        "stored"_a.noconvert(), nb::kw_only(), "first"_a, "counts"_a.noconvert());
    m.def(
        "look_up",
        [](const Image<Stored>& stored, std::int32_t first, const Table& table, Grey& out) {
            if (out.shape(0) != stored.shape(0) || out.shape(1) != stored.shape(1)) {
                throw nb::value_error("out must have the shape of stored");
            }
            require_covered(stored, first, table.size());
            nb::gil_scoped_release release;
            spinert::look_up(stored.data(), stored.size(), first, table.data(), out.data());
        },
        "stored"_a.noconvert(), nb::kw_only(), "first"_a, "table"_a.noconvert(),
        "out"_a.noconvert());
}

}  // namespace

void register_grey(nb::module_& m) {
    register_stored<std::uint8_t>(m);
    register_stored<std::uint16_t>(m);
    register_stored<std::int16_t>(m);
}
