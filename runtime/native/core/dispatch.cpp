// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#include "kernels.hpp"

namespace spinert {

extern const Kernels kernels_baseline;
#if defined(SPINERT_X86_64_LEVELS)
extern const Kernels kernels_v3;
extern const Kernels kernels_v4;
extern const Kernels kernels_v4_vnni;
#endif

namespace {

struct Runnable {
    const Kernels* kernels[4] = {&kernels_baseline};
    std::size_t count = 1;

    Runnable() noexcept {
#if defined(SPINERT_X86_64_LEVELS)
        __builtin_cpu_init();
        const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                        __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("fma");
        const bool v4 = v3 && __builtin_cpu_supports("avx512f") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
        const bool v4_vnni =
            v4 && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
        if (v3) {
            kernels[count++] = &kernels_v3;
        }
        if (v4) {
            kernels[count++] = &kernels_v4;
        }
        if (v4_vnni) {
            kernels[count++] = &kernels_v4_vnni;
        }
#endif
    }
};

const Runnable& runnable() noexcept {
    static const Runnable found;
    return found;
}

}  // namespace

const Kernels& kernels() noexcept { return *runnable().kernels[runnable().count - 1]; }

const Kernels* const* runnable_kernels(std::size_t& count) noexcept {
    count = runnable().count;
    return runnable().kernels;
}

}  // namespace spinert
