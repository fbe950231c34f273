// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#include "inputs.hpp"

#include <algorithm>
#include <cstring>

namespace spinert {
namespace {

/// Pixels that go through all steps together: their levels stay in the nearest cache.
constexpr std::size_t kBlockPixels = 8192;

std::size_t rounded_up(std::size_t n, std::size_t step) noexcept {
    return (n + step - 1) / step * step;
}

/// One of `count` parts of about equal length.
Ahead part_of(Ahead ahead, std::size_t index, std::size_t count) noexcept {
    const std::size_t begin = ahead.lines * index / count;
    return {ahead.from + kLine * begin, ahead.lines * (index + 1) / count - begin};
}

/// The next `rows` rows of an image, from `first` on, or those that are left.
template <typename Stored>
Ahead ahead_of(const StoredImage<Stored>& image, std::size_t first, std::size_t rows) noexcept {
    const std::size_t pixels = std::min(rows, image.rows - first) * image.columns;
    return {reinterpret_cast<const std::uint8_t*>(image.pixels + first * image.columns),
            pixels * sizeof(Stored) / kLine};
}

}  // namespace

template <typename Stored>
LevelCounts InputMaker::make(StoredImage<Stored> image, Stretch stretch, LevelBounds bounds,
                             const std::vector<Canvas>& canvases) {
    start(image.rows, image.columns, canvases);
    auto& map = std::get<LevelMap<Stored>>(maps_);
    map.set(kernels_, stretch);
    LevelCounts counts;
    for (std::size_t row = 0; row < image.rows; row += block_rows_) {
        const std::size_t n_rows = std::min(block_rows_, image.rows - row);
        const std::size_t pixels = n_rows * image.columns;
        map.apply(kernels_, image.pixels + row * image.columns, pixels, block_.data());
        kernels_.count_levels(block_.data(), pixels, bounds, counts);
        const Ahead ahead = ahead_of(image, row + n_rows, block_rows_);
        for (std::size_t i = 0; i < canvases.size(); ++i) {
            narrow(narrowed_[i], row, n_rows, image.columns, part_of(ahead, i, canvases.size()));
            finish_rows(narrowed_[i], row + n_rows, canvases[i]);
        }
    }
    return counts;
}

void InputMaker::start(std::size_t rows, std::size_t columns, const std::vector<Canvas>& canvases) {
    block_rows_ = std::min(rounded_up(kBlockPixels / columns + 1, kRowsTogether),
                           rounded_up(rows, kRowsTogether));
    std::size_t reach = 0;
    for (std::size_t i = 0; i < canvases.size(); ++i) {
        const Canvas& canvas = canvases[i];
        Narrowed& image = narrowed_[i];
        const auto size = [](std::size_t n) noexcept { return static_cast<std::int32_t>(n); };
        image.across = &across_.get(size(columns), size(canvas.width));
        image.down = &down_.get(size(rows), size(canvas.height));
        const std::size_t most_taps = rounded_up(image.down->most_taps(), kQuad);
        image.kept_rows = most_taps + block_rows_;
        image.stride = rounded_up(canvas.width, kRowLanes);
        image.next = 0;
        image.rows.resize(std::max(image.rows.size(), image.kept_rows * image.stride));
        reach = std::max(reach, image.across->reach());
        unused_row_.resize(std::max(unused_row_.size(), image.stride));
        tap_rows_.resize(std::max(tap_rows_.size(), most_taps));
        const std::size_t below = canvas.canvas_height - canvas.height;
        std::memset(canvas.pixels + canvas.height * canvas.canvas_width, 0,
                    below * canvas.canvas_width);
    }
    block_.resize(std::max(block_.size(), block_rows_ * columns + reach));
}

void InputMaker::narrow(Narrowed& image, std::size_t first_row, std::size_t n_rows,
                        std::size_t columns, Ahead ahead) noexcept {
    const Across across = image.across->across();
    const std::size_t steps = rounded_up(n_rows, kRowsTogether) / kRowsTogether;
    for (std::size_t step = 0; step < steps; ++step) {
        const std::uint8_t* in[kRowsTogether];
        std::uint8_t* out[kRowsTogether];
        for (std::size_t i = 0; i < kRowsTogether; ++i) {
            // The last row stands in for missing ones.
            const std::size_t row = kRowsTogether * step + i;
            in[i] = block_.data() + std::min(row, n_rows - 1) * columns;
            out[i] = row < n_rows ? image.row(first_row + row) : unused_row_.data();
        }
        kernels_.horizontal(in, across, out, part_of(ahead, step, steps));
    }
}

void InputMaker::finish_rows(Narrowed& image, std::size_t rows_there,
                             const Canvas& canvas) noexcept {
    for (; image.next < canvas.height; ++image.next) {
        const RowTaps& taps = image.down->taps(image.next);
        if (taps.first + taps.count > rows_there) {
            return;
        }
        for (std::size_t i = 0; i < taps.quads() * kQuad; ++i) {
            tap_rows_[i] = image.row(taps.first + std::min(i, taps.count - 1));
        }
        std::uint8_t* out = canvas.pixels + image.next * canvas.canvas_width;
        kernels_.vertical(tap_rows_.data(), image.down->weights(taps), taps.quads(), canvas.width,
                          out);
        std::memset(out + canvas.width, 0, canvas.canvas_width - canvas.width);
    }
}

#define SPINERT_FOR_STORED(T)                                                      \
    template LevelCounts InputMaker::make<T>(StoredImage<T>, Stretch, LevelBounds, \
                                             const std::vector<Canvas>&);
SPINERT_FOR_STORED(std::uint8_t)
SPINERT_FOR_STORED(std::uint16_t)
SPINERT_FOR_STORED(std::int16_t)
#undef SPINERT_FOR_STORED

}  // namespace spinert
