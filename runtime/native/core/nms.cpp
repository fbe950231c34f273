// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#include "nms.hpp"

#include <algorithm>

namespace spinert {
namespace {

float area(const float* box) noexcept { return (box[2] - box[0]) * (box[3] - box[1]); }

float overlap(const float* a, const float* b) noexcept {
    const float width = std::min(a[2], b[2]) - std::max(a[0], b[0]);
    const float height = std::min(a[3], b[3]) - std::max(a[1], b[1]);
    const float both = std::max(0.0F, width) * std::max(0.0F, height);
    return both / (area(a) + area(b) - both);
}

}  // namespace

void nms(const float* boxes, const std::int64_t* labels, std::size_t count, NmsRule rule,
         bool* keep) noexcept {
    std::fill(keep, keep + count, true);
    for (std::size_t i = 0; i < count; ++i) {
        if (!keep[i]) {
            continue;
        }
        for (std::size_t j = i + 1; j < count; ++j) {
            const bool comparable = !rule.class_wise || labels[i] == labels[j];
            // An IoU of two empty boxes is NaN, and NaN suppresses nothing.
            if (keep[j] && comparable && overlap(boxes + 4 * i, boxes + 4 * j) > rule.iou) {
                keep[j] = false;
            }
        }
    }
}

}  // namespace spinert
