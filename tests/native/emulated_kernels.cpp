// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
//
// The kernels as a library of the CPU: `emulated_launch` runs a grid, thread by thread.
#include "emulated_cuda.hpp"
//
#include <cstddef>
#include <cstring>
#include <utility>

#include "preprocess.cu"

namespace {

/// Arguments as cuLaunchKernel takes them: where each lies, and here also its size.
struct Arguments {
    const void* const* where;
    const std::size_t* sizes;
    std::size_t count;
};

template <typename T>
T value_at(const void* where) {
    T value;
    std::memcpy(&value, where, sizeof value);
    return value;
}

template <typename... Parameters, std::size_t... I>
bool run(void (*kernel)(Parameters...), Arguments given, std::index_sequence<I...>) {
    if (given.count != sizeof...(I) || !((given.sizes[I] == sizeof(Parameters)) && ...)) {
        return false;
    }
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y) {
        for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) {
            for (threadIdx.y = 0; threadIdx.y < blockDim.y; ++threadIdx.y) {
                for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) {
                    kernel(value_at<Parameters>(given.where[I])...);
                }
            }
        }
    }
    return true;
}

template <typename... Parameters>
bool run(void (*kernel)(Parameters...), Arguments given) {
    return run(kernel, given, std::index_sequence_for<Parameters...>{});
}

}  // namespace

/// Run kernel `name`; false if there is none, or its parameters are of other sizes.
extern "C" bool emulated_launch(const char* name, const std::uint32_t* grid,
                                const std::uint32_t* block, const void* const* where,
                                const std::size_t* sizes, std::size_t count) {
    gridDim = {grid[0], grid[1], 1};
    blockDim = {block[0], block[1], 1};
    const Arguments given{where, sizes, count};
#define SPINERT_KERNEL(kernel) \
    if (std::strcmp(name, #kernel) == 0) return run(kernel, given);
    SPINERT_KERNEL(spinert_clear)
    SPINERT_KERNEL(spinert_count_u8)
    SPINERT_KERNEL(spinert_count_u16)
    SPINERT_KERNEL(spinert_horizontal_u8)
    SPINERT_KERNEL(spinert_horizontal_u16)
    SPINERT_KERNEL(spinert_vertical)
#undef SPINERT_KERNEL
    return false;
}
