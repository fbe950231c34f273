// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#include "nms.hpp"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Boxes = nb::ndarray<const float, nb::shape<-1, 4>, nb::c_contig, nb::device::cpu>;
using Labels = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Kept = nb::ndarray<nb::numpy, bool, nb::ndim<1>>;

}  // namespace

void register_nms(nb::module_& m) {
    m.def(
        "nms",
        [](const Boxes& boxes, const Labels& labels, float iou, bool class_wise) {
            const std::size_t count = boxes.shape(0);
            if (labels.shape(0) != count) {
                throw nb::value_error("boxes and labels must have the same length");
            }
            bool* keep = new bool[count];
            nb::capsule owner(keep, [](void* p) noexcept { delete[] static_cast<bool*>(p); });
            {
                nb::gil_scoped_release release;
                spinert::nms(spinert::kernels(), boxes.data(), labels.data(), count,
                             {iou, class_wise}, keep);
            }
            return Kept(keep, {count}, owner);
        },
        "boxes"_a.noconvert(), "labels"_a.noconvert(), nb::kw_only(), "iou"_a, "class_wise"_a);
}
