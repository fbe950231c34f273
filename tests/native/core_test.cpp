// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
//
// Random cases for the native core without Python, for sanitizers: every instruction set of this
// machine, several threads at once, each result compared with the plainest form of the same sum.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "inputs.hpp"
#include "nms.hpp"
#include "ramp.hpp"

namespace {

using Random = std::mt19937;

std::size_t between(Random& random, std::size_t low, std::size_t high) {
    return std::uniform_int_distribution<std::size_t>(low, high)(random);
}

void require(bool holds, const std::string& what, const char* kernels) {
    if (!holds) {
        std::fprintf(stderr, "%s differs with kernels %s\n", what.c_str(), kernels);
        std::abort();
    }
}

/// One axis of Pillow's filter, every weight in place.
std::vector<std::uint8_t> resized_rows(const std::vector<std::uint8_t>& in, std::size_t rows,
                                       std::size_t columns, std::size_t width) {
    std::vector<std::uint8_t> out(rows * width);
    const double scale = static_cast<double>(columns) / static_cast<double>(width);
    const double reach = std::max(scale, 1.0);
    for (std::size_t x = 0; x < width; ++x) {
        const double center = (static_cast<double>(x) + 0.5) * scale;
        const int first = std::max(0, static_cast<int>(center - reach + 0.5));
        const int last =
            std::min(static_cast<int>(columns), static_cast<int>(center + reach + 0.5));
        std::vector<double> weights;
        double total = 0.0;
        for (int i = first; i < last; ++i) {
            const double far = std::fabs((i - center + 0.5) * (1.0 / reach));
            weights.push_back(far < 1.0 ? 1.0 - far : 0.0);
            total += weights.back();
        }
        for (std::size_t y = 0; y < rows; ++y) {
            std::int64_t sum = 1 << 21;
            for (std::size_t i = 0; i < weights.size(); ++i) {
                const auto weight = static_cast<std::int64_t>(0.5 + weights[i] / total * (1 << 22));
                sum += weight * in[y * columns + static_cast<std::size_t>(first) + i];
            }
            out[y * width + x] = static_cast<std::uint8_t>(std::min<std::int64_t>(sum >> 22, 255));
        }
    }
    return out;
}

std::vector<std::uint8_t> turned(const std::vector<std::uint8_t>& in, std::size_t rows,
                                 std::size_t columns) {
    std::vector<std::uint8_t> out(in.size());
    for (std::size_t y = 0; y < rows; ++y) {
        for (std::size_t x = 0; x < columns; ++x) {
            out[x * rows + y] = in[y * columns + x];
        }
    }
    return out;
}

std::vector<std::uint8_t> resized(const std::vector<std::uint8_t>& in, std::size_t rows,
                                  std::size_t columns, std::size_t height, std::size_t width) {
    const auto narrow = turned(resized_rows(in, rows, columns, width), rows, width);
    return turned(resized_rows(narrow, width, rows, height), width, height);
}

/// Levels as a window makes them, rising or falling; sometimes one of them is off by one.
void fill_with_ramp(std::vector<std::uint8_t>& table, Random& random) {
    const auto size = static_cast<double>(table.size());
    const double begin = size * static_cast<double>(between(random, 0, 40)) / 100;
    const double end = size * static_cast<double>(between(random, 60, 100)) / 100;
    const bool falls = between(random, 0, 1) == 1;
    for (std::size_t i = 0; i < table.size(); ++i) {
        const double share = (static_cast<double>(i) - begin) / std::max(end - 1 - begin, 1.0);
        const auto level = static_cast<std::uint8_t>(255 * std::clamp(share, 0.0, 1.0));
        table[falls ? table.size() - 1 - i : i] = level;
    }
    if (between(random, 0, 3) == 0) {
        table[between(random, 0, table.size() - 1)] ^= 1;
    }
}

template <typename Stored>
void check_inputs(spinert::InputMaker& maker, const spinert::Kernels& kernels, Random& random) {
    const std::size_t rows = between(random, 1, 90);
    // Sometimes so wide that not all rows go through at once.
    const std::size_t columns = between(random, 1, between(random, 0, 7) == 0 ? 3000 : 90);
    // Exactly as large as they are: reading or writing past an end is found.
    std::vector<Stored> stored(rows * columns);
    std::vector<std::uint8_t> table(between(random, 1, spinert::WholeTable<Stored>::kSize));
    for (auto& level : table) {
        level = static_cast<std::uint8_t>(random());
    }
    if (between(random, 0, 1) == 1) {
        fill_with_ramp(table, random);
    }
    const std::int32_t first =
        std::is_signed_v<Stored> ? -static_cast<std::int32_t>(table.size() / 2) : 0;
    std::vector<std::uint8_t> grey(stored.size());
    for (std::size_t i = 0; i < stored.size(); ++i) {
        const std::size_t index = between(random, 0, table.size() - 1);
        stored[i] = static_cast<Stored>(first + static_cast<std::int32_t>(index));
        grey[i] = table[index];
    }
    std::vector<std::vector<std::uint8_t>> pixels;
    std::vector<spinert::Canvas> canvases;
    for (std::size_t i = 0; i < between(random, 1, 3); ++i) {
        const std::size_t height = between(random, 1, 99);
        const std::size_t width = between(random, 1, 99);
        const std::size_t canvas_height = height + between(random, 0, 9);
        const std::size_t canvas_width = width + between(random, 0, 9);
        pixels.emplace_back(canvas_height * canvas_width, std::uint8_t{7});
        canvases.push_back({nullptr, canvas_height, canvas_width, height, width});
    }
    for (std::size_t i = 0; i < canvases.size(); ++i) {
        canvases[i].pixels = pixels[i].data();
    }
    const auto counts = maker.make<Stored>(
        {stored.data(), rows, columns}, {first, table.data(), table.size()}, {40, 200}, canvases);
    const auto counted = [&grey](auto matches) {
        return static_cast<std::uint64_t>(std::count_if(grey.begin(), grey.end(), matches));
    };
    require(counts.darkest == counted([](int v) { return v == 0; }), "darkest", kernels.name);
    require(counts.up_to_low == counted([](int v) { return v <= 40; }), "low", kernels.name);
    require(counts.from_high == counted([](int v) { return v >= 200; }), "high", kernels.name);
    require(counts.brightest == counted([](int v) { return v == 255; }), "brightest", kernels.name);
    for (const auto& canvas : canvases) {
        std::vector<std::uint8_t> expected(canvas.canvas_height * canvas.canvas_width);
        const auto image = resized(grey, rows, columns, canvas.height, canvas.width);
        for (std::size_t y = 0; y < canvas.height; ++y) {
            std::copy_n(image.begin() + static_cast<std::ptrdiff_t>(y * canvas.width), canvas.width,
                        expected.begin() + static_cast<std::ptrdiff_t>(y * canvas.canvas_width));
        }
        require(std::equal(expected.begin(), expected.end(), canvas.pixels), "an input",
                kernels.name);
    }
}

template <typename Stored>
void check_range(const spinert::Kernels& kernels,
                 spinert::Range (*range)(const Stored*, std::size_t) noexcept, Random& random) {
    std::vector<Stored> stored(between(random, 1, 300));
    for (auto& value : stored) {
        value = static_cast<Stored>(random());
    }
    const auto [low, high] = std::minmax_element(stored.begin(), stored.end());
    const auto found = range(stored.data(), stored.size());
    require(found.smallest == *low && found.largest == *high, "the range", kernels.name);
    std::vector<std::uint32_t> counts(static_cast<std::size_t>(*high - *low) + 1);
    spinert::count_values(stored.data(), stored.size(), *low, counts.data(), counts.size());
    std::uint64_t total = 0;
    for (const auto count : counts) {
        total += count;
    }
    require(total == stored.size(), "the sum of counts", kernels.name);
}

/// Levels along a line are found to be one; with one of them changed, either none is found or one
/// that gives the change, too.
void check_ramp(const spinert::Kernels& kernels, bool falls, bool is_signed) {
    constexpr std::size_t kLength = 4096;
    const std::int32_t first = is_signed ? -1000 : 0;
    std::vector<std::uint16_t> stored(kLength);
    std::vector<std::uint8_t> table(kLength);
    for (std::size_t i = 0; i < kLength; ++i) {
        const std::size_t step = falls ? kLength - 1 - i : i;
        stored[i] = static_cast<std::uint16_t>(first + static_cast<std::int32_t>(i));
        table[i] = static_cast<std::uint8_t>(255 * step / (kLength - 1));
    }
    const spinert::Stretch stretch{first, table.data(), table.size()};
    require(spinert::ramp_from_stretch(kernels, stretch, is_signed).has_value(), "a ramp",
            kernels.name);
    std::vector<std::uint8_t> levels(kLength);
    for (std::size_t i = 0; i < kLength; ++i) {
        table[i] ^= 1;
        if (const auto ramp = spinert::ramp_from_stretch(kernels, stretch, is_signed)) {
            kernels.climb(stored.data(), kLength, *ramp, levels.data());
            require(levels == table, "a ramp with a changed level", kernels.name);
        }
        table[i] ^= 1;
    }
}

/// More of a level than a byte could count.
void check_many_levels(const spinert::Kernels& kernels, std::uint8_t level) {
    const std::vector<std::uint8_t> levels(50'000, level);
    spinert::LevelCounts counts;
    kernels.count_levels(levels.data(), levels.size(), {level, level}, counts);
    require(counts.darkest == (level == 0 ? levels.size() : 0) &&
                counts.up_to_low == levels.size() && counts.from_high == levels.size() &&
                counts.brightest == (level == 255 ? levels.size() : 0),
            "a count of many", kernels.name);
}

float overlap(const float* a, const float* b) {
    const float width = std::max(0.0F, std::min(a[2], b[2]) - std::max(a[0], b[0]));
    const float height = std::max(0.0F, std::min(a[3], b[3]) - std::max(a[1], b[1]));
    const float both = width * height;
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both);
}

void check_nms(const spinert::Kernels& kernels, Random& random) {
    const std::size_t count = between(random, 0, 60);
    std::vector<float> boxes(4 * count);
    std::vector<std::int64_t> labels(count);
    for (std::size_t i = 0; i < count; ++i) {
        for (std::size_t axis = 0; axis < 2; ++axis) {
            boxes[4 * i + axis] = static_cast<float>(between(random, 0, 50));
            boxes[4 * i + axis + 2] =
                boxes[4 * i + axis] + static_cast<float>(between(random, 0, 30));
        }
        labels[i] = static_cast<std::int64_t>(between(random, 0, 2));
    }
    const auto kept = std::make_unique<bool[]>(count);
    spinert::nms(kernels, boxes.data(), labels.data(), count, {0.5F, true}, kept.get());
    for (std::size_t i = 0; i < count; ++i) {
        bool stays = true;
        for (std::size_t j = 0; j < i; ++j) {
            const bool rivals = kept[j] && labels[i] == labels[j];
            stays &= !(rivals && overlap(&boxes[4 * i], &boxes[4 * j]) > 0.5F);
        }
        require(kept[i] == stays, "suppression", kernels.name);
    }
}

void check_everything(const spinert::Kernels& kernels, unsigned seed, int cases) {
    Random random(seed);
    spinert::InputMaker maker(kernels);
    check_ramp(kernels, seed % 2 == 1, seed / 2 % 2 == 1);
    for (const int level : {0, 9, 255}) {
        check_many_levels(kernels, static_cast<std::uint8_t>(level));
    }
    for (int i = 0; i < cases; ++i) {
        check_inputs<std::uint8_t>(maker, kernels, random);
        check_inputs<std::uint16_t>(maker, kernels, random);
        check_inputs<std::int16_t>(maker, kernels, random);
        check_range<std::uint8_t>(kernels, kernels.range_u8, random);
        check_range<std::uint16_t>(kernels, kernels.range_u16, random);
        check_range<std::int16_t>(kernels, kernels.range_i16, random);
        check_nms(kernels, random);
    }
}

}  // namespace

int main(int argc, char** argv) {
    const int cases = argc > 1 ? std::atoi(argv[1]) : 100;
    std::vector<std::thread> threads;
    for (unsigned seed = 0; seed < 4; ++seed) {
        threads.emplace_back([seed, cases] {
            std::size_t count = 0;
            const auto* const* runnable = spinert::runnable_kernels(count);
            for (std::size_t i = 0; i < count; ++i) {
                check_everything(*runnable[i], seed, cases);
            }
        });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    std::printf("every case agrees; fastest kernels: %s\n", spinert::kernels().name);
}
