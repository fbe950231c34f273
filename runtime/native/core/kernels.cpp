// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
//
// Compiled once for each instruction set, with SPINERT_KERNELS naming the result. It may include
// nothing whose inline functions another file could end up with: no C++ header that defines any.
#include "lanes.hpp"
#include "levels.hpp"

namespace spinert {
namespace {

/// Four parts at once: a processor fetches ahead in each, and one alone does not fill the memory.
template <typename Stored>
Range range_of(const Stored* stored, std::size_t count) noexcept {
    constexpr std::size_t kParts = 4;
    constexpr std::size_t kStep = 64 / sizeof(Stored);
    Stored smallest[kStep];
    Stored largest[kStep];
    for (std::size_t j = 0; j < kStep; ++j) {
        smallest[j] = largest[j] = stored[0];
    }
    const std::size_t part = count / (kParts * kStep) * kStep;
    for (std::size_t i = 0; i < part; i += kStep) {
        for (std::size_t p = 0; p < kParts; ++p) {
            const Stored* line = stored + p * part + i;
            for (std::size_t j = 0; j < kStep; ++j) {
                smallest[j] = line[j] < smallest[j] ? line[j] : smallest[j];
                largest[j] = line[j] > largest[j] ? line[j] : largest[j];
            }
        }
    }
    for (std::size_t i = kParts * part; i < count; ++i) {
        smallest[0] = stored[i] < smallest[0] ? stored[i] : smallest[0];
        largest[0] = stored[i] > largest[0] ? stored[i] : largest[0];
    }
    for (std::size_t j = 1; j < kStep; ++j) {
        smallest[0] = smallest[j] < smallest[0] ? smallest[j] : smallest[0];
        largest[0] = largest[j] > largest[0] ? largest[j] : largest[0];
    }
    return {smallest[0], largest[0]};
}

/// Levels of four times as many outputs as lanes, each the sum of `quads` quads.
template <typename QuadsOf, typename WeightsOf>
[[gnu::always_inline]] inline Four<Levels> levels_of(std::size_t quads, const QuadsOf& quads_of,
                                                     const WeightsOf& weights_of) noexcept {
    if (quads == 1) {
        const Weights weights = weights_of(0);
        return four_of(quads_of(0),
                       [&](const auto& four) noexcept { return level_of(four, weights); });
    }
    Four<Sum> sums;
    for (std::size_t quad = 0; quad < quads; ++quad) {
        const Weights weights = weights_of(quad);
        const auto pixels = quads_of(quad);
        sums.a.add(pixels.a, weights);
        sums.b.add(pixels.b, weights);
        sums.c.add(pixels.c, weights);
        sums.d.add(pixels.d, weights);
    }
    return four_of(sums, [](const Sum& sum) noexcept { return sum.level(); });
}

/// Into the second cache: the first has enough to hold.
void fetch(Ahead ahead) noexcept {
    for (std::size_t line = 0; line < ahead.lines; ++line) {
        __builtin_prefetch(ahead.from + kLine * line, 0, 2);
    }
}

/// The outputs of one group in all rows, once it is known how to pick their quads.
struct GroupMaker {
    const std::uint8_t* const* in;
    const std::uint32_t* packed;
    std::size_t quads;
    std::uint8_t* const* out;
    std::size_t at;

    template <typename Pick>
    [[gnu::always_inline]] inline void operator()(const Pick& pick) const noexcept {
        const Four<const std::uint8_t*> rows{in[0], in[1], in[2], in[3]};
        const auto pick_quad = [&](std::size_t quad) noexcept {
            return four_of(
                rows, [&](const std::uint8_t* row) noexcept { return pick(row + kQuad * quad); });
        };
        const auto weights_of = [&](std::size_t quad) noexcept {
            return Weights::of_outputs(packed + kQuad * kLanes * quad);
        };
        store_rows(levels_of(quads, pick_quad, weights_of), out, at);
    }
};

void horizontal(const std::uint8_t* const* in, const Across& across, std::uint8_t* const* out,
                Ahead ahead) noexcept {
    static_assert(kRowsTogether == 4, "one sum for each row");
    std::size_t fetched = 0;
    for (std::size_t i = 0; i < across.count; ++i) {
        const std::size_t fetch_to = ahead.lines * (i + 1) / across.count;
        fetch({ahead.from + kLine * fetched, fetch_to - fetched});
        fetched = fetch_to;
        const OutputGroup group = across.groups[i];
        const std::uint32_t* packed = across.weights + group.weights;
        with_picker(across, i, GroupMaker{in, packed, group.quads, out, kLanes * i});
    }
}

void vertical(const std::uint8_t* const* rows, const std::uint32_t* weights, std::size_t quads,
              std::size_t width, std::uint8_t* out) noexcept {
    constexpr std::size_t kColumns = 4 * kLanes;
    const auto weights_of = [=](std::size_t quad) noexcept {
        return Weights::of_all(weights + kQuad * quad);
    };
    for (std::size_t x = 0; x < width; x += kColumns) {
        const auto interleave_quad = [=](std::size_t quad) noexcept {
            return interleave(rows + kQuad * quad, x);
        };
        const auto levels = levels_of(quads, interleave_quad, weights_of);
        if (x + kColumns <= width) {
            store_columns(levels, out + x);
            continue;
        }
        std::uint8_t last[kColumns];
        store_columns(levels, last);
        __builtin_memcpy(out + x, last, width - x);
    }
}

void suppress(const BoxColumns& boxes, std::size_t kept, std::size_t count, float iou,
              std::int32_t* __restrict dropped) noexcept {
    const float x_min = boxes.x_min[kept];
    const float y_min = boxes.y_min[kept];
    const float x_max = boxes.x_max[kept];
    const float y_max = boxes.y_max[kept];
    const float area = boxes.area[kept];
    for (std::size_t i = kept + 1; i < count; ++i) {
        const float left = boxes.x_min[i] > x_min ? boxes.x_min[i] : x_min;
        const float top = boxes.y_min[i] > y_min ? boxes.y_min[i] : y_min;
        const float right = boxes.x_max[i] < x_max ? boxes.x_max[i] : x_max;
        const float bottom = boxes.y_max[i] < y_max ? boxes.y_max[i] : y_max;
        const float width = right - left > 0.0F ? right - left : 0.0F;
        const float height = bottom - top > 0.0F ? bottom - top : 0.0F;
        const float both = width * height;
        // An IoU of two empty boxes is NaN, and NaN suppresses nothing.
        dropped[i] |= both / (area + boxes.area[i] - both) > iou ? 1 : 0;
    }
}

}  // namespace

extern const Kernels SPINERT_KERNELS;
const Kernels SPINERT_KERNELS = {SPINERT_KERNELS_NAME,
                                 kLanes,
                                 kParts,
                                 range_of<std::uint8_t>,
                                 range_of<std::uint16_t>,
                                 range_of<std::int16_t>,
                                 look_up,
                                 climb,
                                 count_levels,
                                 pack,
                                 horizontal,
                                 vertical,
                                 suppress};

}  // namespace spinert
