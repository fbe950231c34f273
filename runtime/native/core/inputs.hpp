// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <vector>

#include "level_map.hpp"
#include "resample.hpp"

namespace spinert {

/// Where a network's input goes: the image becomes `height` x `width`, top left on the canvas;
/// the rest of the canvas is 0.
struct Canvas {
    std::uint8_t* pixels;
    std::size_t canvas_height;
    std::size_t canvas_width;
    std::size_t height;
    std::size_t width;
};

template <typename Stored>
struct StoredImage {
    const Stored* pixels;
    std::size_t rows;
    std::size_t columns;
};

/// Most canvases that one pass can fill.
inline constexpr std::size_t kMostCanvases = 8;

/// Memory that one thread uses from frame to frame: it only ever grows.
class InputMaker {
 public:
    /// `kernels` outlives the maker.
    explicit InputMaker(const Kernels& kernels) noexcept
        : kernels_(kernels), across_(kernels), down_(kernels) {}

    /// One pass over the image: stored value -> level -> every canvas, as Pillow would resize the
    /// grey image, horizontally first. Returns how many pixels have which level.
    /// Needs an image and canvases of at least one pixel, and at most kMostCanvases of them.
    template <typename Stored>
    LevelCounts make(StoredImage<Stored> image, Stretch stretch, LevelBounds bounds,
                     const std::vector<Canvas>& canvases);

 private:
    /// An image halfway: as wide as on its canvas, as high as it came; the last rows of it.
    struct Narrowed {
        const AcrossTable* across = nullptr;
        const DownTable* down = nullptr;
        std::size_t kept_rows = 0;
        std::size_t stride = 0;
        std::size_t next = 0;  // row of the canvas
        std::vector<std::uint8_t> rows;

        std::uint8_t* row(std::size_t index) noexcept {
            return rows.data() + (index % kept_rows) * stride;
        }
    };

    void start(std::size_t rows, std::size_t columns, const std::vector<Canvas>& canvases);
    void narrow(Narrowed& image, std::size_t first_row, std::size_t n_rows, std::size_t columns,
                Ahead ahead) noexcept;
    void finish_rows(Narrowed& image, std::size_t rows_there, const Canvas& canvas) noexcept;

    const Kernels& kernels_;
    std::tuple<LevelMap<std::uint8_t>, LevelMap<std::uint16_t>, LevelMap<std::int16_t>> maps_;
    ResampleTables<AcrossTable> across_;
    ResampleTables<DownTable> down_;
    std::size_t block_rows_ = 0;
    std::vector<std::uint8_t> block_;  // levels of whole rows
    std::vector<std::uint8_t> unused_row_;
    std::vector<const std::uint8_t*> tap_rows_;
    Narrowed narrowed_[kMostCanvases];
};

}  // namespace spinert
