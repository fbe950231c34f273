// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#include "grey.hpp"

namespace spinert {

template <>
Range value_range(const std::uint8_t* stored, std::size_t count) noexcept {
    return kernels().range_u8(stored, count);
}

template <>
Range value_range(const std::uint16_t* stored, std::size_t count) noexcept {
    return kernels().range_u16(stored, count);
}

template <>
Range value_range(const std::int16_t* stored, std::size_t count) noexcept {
    return kernels().range_i16(stored, count);
}

template <typename Stored>
void count_values(const Stored* stored, std::size_t count, std::int32_t first,
                  std::uint32_t* counts, std::size_t length) noexcept {
    for (std::size_t i = 0; i < count; ++i) {
        const auto at = static_cast<std::uint32_t>(stored[i] - first);
        if (at < length) {
            ++counts[at];
        }
    }
}

#define SPINERT_FOR_STORED(T)                                                          \
    template void count_values<T>(const T*, std::size_t, std::int32_t, std::uint32_t*, \
                                  std::size_t) noexcept;
SPINERT_FOR_STORED(std::uint8_t)
SPINERT_FOR_STORED(std::uint16_t)
SPINERT_FOR_STORED(std::int16_t)
#undef SPINERT_FOR_STORED

}  // namespace spinert
