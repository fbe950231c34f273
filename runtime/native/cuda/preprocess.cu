// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
//
// A frame's stored values to the 8-bit inputs of its networks, bit for bit as on the CPU.
//
// A thread makes one result and threads do not work together: no shared memory, no barriers.
// Without them this file is also plain C++, once its CUDA words are defined, and a loop over
// blocks and threads runs it on a CPU (tests/native/emulated_cuda.hpp).
//
// Stored values index tables by their bits: a table has an entry for every pattern of the
// type, so that no pixel can lead outside of it. Whether the type is signed, the host knows.
#include <cstddef>
#include <cstdint>

namespace {

/// Bits behind the point of Pillow's weights (src/libImaging/Resample.c, PRECISION_BITS).
constexpr int kPrecision = 32 - 8 - 2;
/// Neighbours that one thread counts, so that a border of one value is few additions.
constexpr int kRun = 16;

__device__ std::uint8_t rounded(std::int32_t sum) {
    const std::int32_t level = (sum + (1 << (kPrecision - 1))) >> kPrecision;
    return static_cast<std::uint8_t>(level < 0 ? 0 : (level > 255 ? 255 : level));
}

template <typename Stored>
__device__ void count(const Stored* stored, std::int64_t pixels, std::uint32_t* counts) {
    const std::int64_t thread = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    const std::int64_t begin = thread * kRun;
    if (begin >= pixels) {
        return;
    }
    const std::int64_t end = begin + kRun < pixels ? begin + kRun : pixels;
    Stored value = stored[begin];
    std::uint32_t equal = 0;
    for (std::int64_t i = begin; i < end; ++i) {
        if (stored[i] != value) {
            atomicAdd(counts + value, equal);
            value = stored[i];
            equal = 0;
        }
        ++equal;
    }
    atomicAdd(counts + value, equal);
}

template <typename Stored>
__device__ void horizontal(const Stored* stored, std::int32_t rows, std::int32_t columns,
                           const std::uint8_t* table, const std::int32_t* starts,
                           const std::int32_t* weights, std::int32_t taps, std::int32_t width,
                           std::uint8_t* out) {
    const std::int32_t x = static_cast<std::int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
    const std::int32_t y = static_cast<std::int32_t>(blockIdx.y * blockDim.y + threadIdx.y);
    if (x >= width || y >= rows) {
        return;
    }
    const Stored* first = stored + std::int64_t{y} * columns + starts[x];
    std::int32_t sum = 0;
    for (std::int32_t tap = 0; tap < taps; ++tap) {
        sum += table[first[tap]] * weights[std::int64_t{tap} * width + x];
    }
    out[std::int64_t{y} * width + x] = rounded(sum);
}

}  // namespace

/// counts[0, length) = 0
extern "C" __global__ void spinert_clear(std::uint32_t* counts, std::int32_t length) {
    const std::int32_t i = static_cast<std::int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < length) {
        counts[i] = 0;
    }
}

/// counts[bits of a value] += how often it occurs; 256 and 65,536 counts.
extern "C" __global__ void spinert_count_u8(const std::uint8_t* stored, std::int64_t pixels,
                                            std::uint32_t* counts) {
    count(stored, pixels, counts);
}
extern "C" __global__ void spinert_count_u16(const std::uint16_t* stored, std::int64_t pixels,
                                             std::uint32_t* counts) {
    count(stored, pixels, counts);
}

/// out [rows, width]: the table's grey of each stored value, resized along the rows.
/// Result x sums table[stored[y, starts[x] + tap]] * weights[tap, x] over the taps, all of
/// which lie within the row.
extern "C" __global__ void spinert_horizontal_u8(const std::uint8_t* stored, std::int32_t rows,
                                                 std::int32_t columns, const std::uint8_t* table,
                                                 const std::int32_t* starts,
                                                 const std::int32_t* weights, std::int32_t taps,
                                                 std::int32_t width, std::uint8_t* out) {
    horizontal(stored, rows, columns, table, starts, weights, taps, width, out);
}
extern "C" __global__ void spinert_horizontal_u16(const std::uint16_t* stored, std::int32_t rows,
                                                  std::int32_t columns, const std::uint8_t* table,
                                                  const std::int32_t* starts,
                                                  const std::int32_t* weights, std::int32_t taps,
                                                  std::int32_t width, std::uint8_t* out) {
    horizontal(stored, rows, columns, table, starts, weights, taps, width, out);
}

/// canvas [height, width]: `grey` [any, valid_width] resized along the columns to valid_height
/// rows, top left; 0 everywhere else.
extern "C" __global__ void spinert_vertical(const std::uint8_t* grey, std::int32_t valid_height,
                                            std::int32_t valid_width, const std::int32_t* starts,
                                            const std::int32_t* weights, std::int32_t taps,
                                            std::int32_t height, std::int32_t width,
                                            std::uint8_t* canvas) {
    const std::int32_t x = static_cast<std::int32_t>(blockIdx.x * blockDim.x + threadIdx.x);
    const std::int32_t y = static_cast<std::int32_t>(blockIdx.y * blockDim.y + threadIdx.y);
    if (x >= width || y >= height) {
        return;
    }
    std::uint8_t level = 0;
    if (x < valid_width && y < valid_height) {
        std::int32_t sum = 0;
        for (std::int32_t tap = 0; tap < taps; ++tap) {
            const std::int64_t row = starts[y] + tap;
            sum += grey[row * valid_width + x] * weights[std::int64_t{tap} * valid_height + y];
        }
        level = rounded(sum);
    }
    canvas[std::int64_t{y} * width + x] = level;
}
