// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels.hpp"

namespace spinert {

struct NmsRule {
    float iou;
    bool class_wise;
};

/// Greedy non-maximum suppression of `count` boxes (xyxy), best score first.
/// keep[i] becomes false when box i overlaps a kept box before it (of its label, if
/// class-wise) with IoU above rule.iou; float32 throughout, as torchvision.ops.nms does.
void nms(const Kernels& kernels, const float* boxes, const std::int64_t* labels, std::size_t count,
         NmsRule rule, bool* keep);

}  // namespace spinert
