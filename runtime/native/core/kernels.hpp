// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <cstdint>

namespace spinert {

/// Rows that are resampled horizontally together, so that weights are read once for all of them.
inline constexpr std::size_t kRowsTogether = 4;

/// Bytes that memory is read in.
inline constexpr std::size_t kLine = 64;

/// Taps that are multiplied together: four neighbouring pixels are one 32-bit lane.
inline constexpr std::size_t kQuad = 4;

/// Rows are written, and read by the vertical pass, up to this multiple of columns.
inline constexpr std::size_t kRowLanes = 64;

/// Bytes of the longest register that quads are picked with, and parts that it may have.
inline constexpr std::size_t kWindow = 64;
inline constexpr std::size_t kMostParts = 2;
inline constexpr std::uint8_t kElsewhere = 0x80;

/// Pillow's fixed point: 32 bits less 8 for the result and 2 in reserve.
inline constexpr int kWeightBits = 22;

struct Range {
    std::int32_t smallest;
    std::int32_t largest;
};

/// Stored value -> level by arithmetic, in 48 bits: level = (x * high:low + offset) >> 32 + shift,
/// at most 255, where x = max((value ^ flip) - start, 0). `flip` makes signed values unsigned and
/// falling maps rise. `offset` counts in steps of 2^17, and rounding adds some more to it:
/// whoever makes a ramp asks the kernels what becomes of each value (ramp.hpp).
struct Ramp {
    std::uint16_t flip;
    std::uint16_t start;
    std::uint16_t high;
    std::uint16_t low;
    std::uint16_t offset;
    std::uint16_t shift;
};

/// Pixels from which quads of several outputs are picked. A register has one part or several,
/// each with as many outputs and neighbouring pixels of its own: those from offsets[part] on.
/// index[i] tells which of them is byte i of the quads; kElsewhere where another window has it.
struct Window {
    std::int32_t offsets[kMostParts];
    std::uint8_t index[kWindow];
};

/// Neighbouring outputs of a horizontal pass, as many as there are lanes.
struct OutputGroup {
    std::uint32_t quads;    // of each output
    std::uint32_t weights;  // index of the first packed weight: [quads][kQuad][lanes]
    std::uint32_t window;   // index of the first
    std::uint32_t windows;
};

/// How rows become narrower or wider. Up to `kWindow` bytes after the pixels of an output are
/// read, with weight 0.
struct Across {
    const OutputGroup* groups;
    std::size_t count;
    const std::int32_t* firsts;  // first pixel of each output, [count][lanes]
    const Window* windows;
    const std::uint32_t* weights;
};

/// Memory that is wanted next.
struct Ahead {
    const std::uint8_t* from;
    std::size_t lines;
};

struct LevelBounds {
    std::uint8_t low;
    std::uint8_t high;
};

/// How many pixels are 0, at most bounds.low, at least bounds.high, and 255.
struct LevelCounts {
    std::uint64_t darkest = 0;
    std::uint64_t up_to_low = 0;
    std::uint64_t from_high = 0;
    std::uint64_t brightest = 0;
};

/// Boxes coordinate by coordinate.
struct BoxColumns {
    const float* x_min;
    const float* y_min;
    const float* x_max;
    const float* y_max;
    const float* area;
};

/// The inner loops, compiled once for each instruction set; the same results from all.
struct Kernels {
    const char* name;
    /// Outputs of a group, and parts of the register with their quads.
    std::size_t lanes;
    std::size_t parts;
    Range (*range_u8)(const std::uint8_t*, std::size_t) noexcept;
    Range (*range_u16)(const std::uint16_t*, std::size_t) noexcept;
    Range (*range_i16)(const std::int16_t*, std::size_t) noexcept;
    void (*look_up)(const std::uint8_t* stored, std::size_t count, const std::uint8_t* table,
                    std::uint8_t* levels) noexcept;
    void (*climb)(const std::uint16_t* stored, std::size_t count, Ramp ramp,
                  std::uint8_t* levels) noexcept;
    void (*count_levels)(const std::uint8_t* levels, std::size_t count, LevelBounds bounds,
                         LevelCounts& counts) noexcept;
    /// Four weights of one output, 0 to 2^22, in the form that is multiplied with.
    void (*pack)(const std::int32_t* weights, std::uint32_t* packed) noexcept;
    /// in[i] -> out[i], i < kRowsTogether; meanwhile memory brings what is ahead.
    void (*horizontal)(const std::uint8_t* const* in, const Across& across,
                       std::uint8_t* const* out, Ahead ahead) noexcept;
    /// out[x] = sum of rows[i][x] * weight i, i < 4 * quads; weights packed, [quads][4].
    void (*vertical)(const std::uint8_t* const* rows, const std::uint32_t* weights,
                     std::size_t quads, std::size_t width, std::uint8_t* out) noexcept;
    /// dropped[i] becomes 1 where box i in (kept, count) overlaps box `kept` by more than `iou`.
    void (*suppress)(const BoxColumns& boxes, std::size_t kept, std::size_t count, float iou,
                     std::int32_t* dropped) noexcept;
};

/// The fastest kernels this processor runs.
const Kernels& kernels() noexcept;

/// All kernels this processor runs, the baseline first; `count` of them.
const Kernels* const* runnable_kernels(std::size_t& count) noexcept;

}  // namespace spinert
