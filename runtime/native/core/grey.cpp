// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#include "grey.hpp"

#include <algorithm>

namespace spinert {

template <typename Stored>
Range value_range(const Stored* stored, std::size_t count) noexcept {
    Stored smallest = stored[0];
    Stored largest = stored[0];
    for (std::size_t i = 1; i < count; ++i) {
        smallest = std::min(smallest, stored[i]);
        largest = std::max(largest, stored[i]);
    }
    return {smallest, largest};
}

template <typename Stored>
void count_values(const Stored* stored, std::size_t count, std::int32_t first,
                  std::uint32_t* counts) noexcept {
    for (std::size_t i = 0; i < count; ++i) {
        ++counts[static_cast<std::int32_t>(stored[i]) - first];
    }
}

template <typename Stored>
void look_up(const Stored* stored, std::size_t count, std::int32_t first, const std::uint8_t* table,
             std::uint8_t* out) noexcept {
    for (std::size_t i = 0; i < count; ++i) {
        out[i] = table[static_cast<std::int32_t>(stored[i]) - first];
    }
}

#define SPINERT_FOR_STORED(T)                                                                    \
    template Range value_range<T>(const T*, std::size_t) noexcept;                               \
    template void count_values<T>(const T*, std::size_t, std::int32_t, std::uint32_t*) noexcept; \
    template void look_up<T>(const T*, std::size_t, std::int32_t, const std::uint8_t*,           \
                             std::uint8_t*) noexcept;
SPINERT_FOR_STORED(std::uint8_t)
SPINERT_FOR_STORED(std::uint16_t)
SPINERT_FOR_STORED(std::int16_t)
#undef SPINERT_FOR_STORED

}  // namespace spinert
