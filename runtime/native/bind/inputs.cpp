// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#include "inputs.hpp"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <tuple>
#include <utility>
#include <vector>

#include "arrays.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Bounds = std::pair<std::uint8_t, std::uint8_t>;
using Sizes = std::vector<std::pair<std::size_t, std::size_t>>;

std::vector<spinert::Canvas> canvases_from(const std::vector<Grey>& out, const Sizes& sizes) {
    if (out.size() != sizes.size() || out.size() > spinert::kMostCanvases) {
        throw nb::value_error("one size for each canvas, and at most 8 of them");
    }
    std::vector<spinert::Canvas> canvases;
    for (std::size_t i = 0; i < out.size(); ++i) {
        const auto [height, width] = sizes[i];
        if (height < 1 || width < 1 || height > out[i].shape(0) || width > out[i].shape(1)) {
            throw nb::value_error("an image must fit its canvas");
        }
        canvases.push_back({out[i].data(), out[i].shape(0), out[i].shape(1), height, width});
    }
    return canvases;
}

template <typename Stored>
void register_stored(nb::module_& m) {
    m.def(
        "make_inputs",
        [](const StoredArray<Stored>& stored, std::int32_t first, const Table& table, Bounds bounds,
           const std::vector<Grey>& out, const Sizes& sizes) {
            require_pixels(stored);
            const auto canvases = canvases_from(out, sizes);
            const auto stretch = stretch_from(first, table);
            spinert::LevelCounts counts;
            {
                nb::gil_scoped_release release;
                thread_local spinert::InputMaker maker(spinert::kernels());
                counts = maker.make<Stored>({stored.data(), stored.shape(0), stored.shape(1)},
                                            stretch, {bounds.first, bounds.second}, canvases);
            }
            return std::tuple{counts.darkest, counts.up_to_low, counts.from_high, counts.brightest};
        },
        "stored"_a.noconvert(), nb::kw_only(), "first"_a, "table"_a.noconvert(), "bounds"_a,
        "out"_a.noconvert(), "sizes"_a);
}

}  // namespace

void register_inputs(nb::module_& m) {
    m.def("kernels", [] { return spinert::kernels().name; });
    register_stored<std::uint8_t>(m);
    register_stored<std::uint16_t>(m);
    register_stored<std::int16_t>(m);
}
