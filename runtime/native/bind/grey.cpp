// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#include "grey.hpp"

#include <nanobind/stl/pair.h>

#include "arrays.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <typename Stored>
void register_stored(nb::module_& m) {
    m.def(
        "value_range",
        [](const StoredArray<Stored>& stored) {
            require_pixels(stored);
            spinert::Range range{};
            {
                nb::gil_scoped_release release;
                range = spinert::value_range(stored.data(), stored.size());
            }
            return std::pair{range.smallest, range.largest};
        },
        "stored"_a.noconvert());
    m.def(
        "count_values",
        [](const StoredArray<Stored>& stored, std::int32_t first, Counts& counts) {
            nb::gil_scoped_release release;
            spinert::count_values(stored.data(), stored.size(), first, counts.data(),
                                  counts.size());
        },
        "stored"_a.noconvert(), nb::kw_only(), "first"_a, "counts"_a.noconvert());
}

}  // namespace

void register_grey(nb::module_& m) {
    register_stored<std::uint8_t>(m);
    register_stored<std::uint16_t>(m);
    register_stored<std::int16_t>(m);
}
