// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#include "nms.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

namespace spinert {
namespace {

/// Boxes that may suppress each other, coordinate by coordinate, as the kernel wants them.
class Group {
 public:
    explicit Group(std::size_t most) : columns_(5 * most), dropped_(most), most_(most) {}

    void clear() noexcept { count_ = 0; }

    void add(const float* box) noexcept {
        for (std::size_t i = 0; i < 4; ++i) {
            columns_[i * most_ + count_] = box[i];
        }
        columns_[4 * most_ + count_] = (box[2] - box[0]) * (box[3] - box[1]);
        dropped_[count_++] = 0;
    }

    /// Decide over all of them; dropped()[i] is not 0 for those that go.
    void suppress(const Kernels& kernels, float iou) noexcept {
        const float* first = columns_.data();
        const BoxColumns boxes{first, first + most_, first + 2 * most_, first + 3 * most_,
                               first + 4 * most_};
        for (std::size_t i = 0; i < count_; ++i) {
            if (dropped_[i] == 0) {
                kernels.suppress(boxes, i, count_, iou, dropped_.data());
            }
        }
    }
    const std::vector<std::int32_t>& dropped() const noexcept { return dropped_; }

 private:
    std::vector<float> columns_;
    std::vector<std::int32_t> dropped_;
    std::size_t most_;
    std::size_t count_ = 0;
};

}  // namespace

void nms(const Kernels& kernels, const float* boxes, const std::int64_t* labels, std::size_t count,
         NmsRule rule, bool* keep) {
    std::vector<std::size_t> order(count);
    std::iota(order.begin(), order.end(), std::size_t{0});
    if (rule.class_wise) {
        // Boxes of one label together, best score first as before.
        std::stable_sort(order.begin(), order.end(),
                         [labels](std::size_t a, std::size_t b) { return labels[a] < labels[b]; });
    }
    Group group(count);
    for (std::size_t start = 0, end = 0; start < count; start = end) {
        group.clear();
        while (end < count && (!rule.class_wise || labels[order[end]] == labels[order[start]])) {
            group.add(boxes + 4 * order[end++]);
        }
        group.suppress(kernels, rule.iou);
        for (std::size_t i = start; i < end; ++i) {
            keep[order[i]] = group.dropped()[i - start] == 0;
        }
    }
}

}  // namespace spinert
