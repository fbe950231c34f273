// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
//
// The words of CUDA that the kernels use, for a C++ compiler: one thread after the other.
#pragma once
#include <cstdint>

#define __global__
#define __device__

struct Dimensions {
    std::uint32_t x, y, z;
};

inline thread_local Dimensions gridDim, blockDim, blockIdx, threadIdx;

inline std::uint32_t atomicAdd(std::uint32_t* address, std::uint32_t value) {
    const std::uint32_t before = *address;
    *address += value;
    return before;
}
