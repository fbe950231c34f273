// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#include "ramp.hpp"

#include <cmath>

namespace spinert {
namespace {

constexpr std::size_t kBrightest = 255;

/// Where the levels of a map that only rises reach 1, 2, ... 255; steps of the table.
using Thresholds = double[kBrightest];

/// level = slope * step + intercept, rounded down.
struct Line {
    double slope;
    double intercept;
};

/// Where the next level begins.
std::size_t end_of_run(const std::uint8_t* levels, std::size_t begin, std::size_t length) noexcept {
    const std::uint64_t eight = std::uint64_t{0x0101010101010101} * levels[begin];
    std::size_t i = begin + 1;
    for (std::uint64_t next = eight; i + sizeof next <= length; i += sizeof next) {
        std::memcpy(&next, levels + i, sizeof next);
        if (next != eight) {
            break;
        }
    }
    while (i < length && levels[i] == levels[begin]) {
        ++i;
    }
    return i;
}

/// False unless the levels go from 0 to 255, or from 255 to 0, and never back.
bool find_thresholds(Stretch stretch, Thresholds& thresholds) noexcept {
    const std::uint8_t* levels = stretch.levels;
    const std::size_t length = stretch.length;
    const bool falls = levels[0] != 0;
    if (levels[0] != (falls ? kBrightest : 0) || levels[length - 1] != (falls ? 0 : kBrightest)) {
        return false;
    }
    for (std::size_t i = 0, next = 0; i < length; i = next) {
        next = end_of_run(levels, i, length);
        if (next == length) {
            continue;
        }
        const std::uint8_t low = falls ? levels[next] : levels[i];
        const std::uint8_t high = falls ? levels[i] : levels[next];
        if (low >= high) {
            return false;
        }
        const auto step = static_cast<double>(falls ? length - next : next);
        for (std::size_t level = low; level < high; ++level) {
            thresholds[level] = step;
        }
    }
    return true;
}

/// The line that keeps the most distance, measured in levels, from the steps it must not pass:
/// not below level k at its threshold, below k one step before. How far the two kinds of bounds
/// are apart is a concave function of the slope, whose direction the two narrowest bounds tell.
std::optional<Line> widest_line(const Thresholds& thresholds) noexcept {
    constexpr int kHalvings = 60;
    const double across = thresholds[kBrightest - 1] - thresholds[0];
    double flattest = (kBrightest - 1) / (across + 1);
    double steepest = (kBrightest - 1) / (across - 1);
    std::optional<Line> best;
    double widest = 0;
    for (int i = 0; i < kHalvings; ++i) {
        const double slope = (flattest + steepest) / 2;
        double low = -HUGE_VAL;
        double high = HUGE_VAL;
        double low_at = 0;
        double high_at = 0;
        for (std::size_t level = 0; level < kBrightest; ++level) {
            const double bound = static_cast<double>(level + 1) - slope * thresholds[level];
            if (bound > low) {
                low = bound;
                low_at = thresholds[level];
            }
            if (bound + slope < high) {
                high = bound + slope;
                high_at = thresholds[level] - 1;
            }
        }
        if (high - low > widest) {
            widest = high - low;
            best = Line{slope, (low + high) / 2};
        }
        if (high_at == low_at || steepest - flattest < 1e-3 * widest / across) {
            break;
        }
        (high_at > low_at ? steepest : flattest) = slope;
    }
    return best;
}

/// Fixed point for values of which `begin` is the first and darkest, as the kernels see it.
std::optional<Ramp> ramp_from_line(Line line, std::int32_t begin, std::uint16_t flip) noexcept {
    int shift = 0;
    while (std::ldexp(line.slope, shift + 1) < 1) {
        ++shift;
    }
    // From where the line is 0, so that little is left to add.
    const double dark = std::max(std::ceil(-line.intercept / line.slope), -1.0 * begin);
    const double start = begin + dark;
    const double slope = std::round(std::ldexp(line.slope, 32 + shift));
    const double rest = std::ldexp(line.intercept + line.slope * dark, 16 + shift);
    // One half for rounding in the kernels, on average.
    const double offset = std::round((rest - 1) / 2);
    if (shift < 1 || start > 0xFFFF || slope > 0xFFFFFFFF || offset > 0xFFFF) {
        return std::nullopt;
    }
    const auto whole = static_cast<std::uint32_t>(slope);
    return Ramp{flip,
                static_cast<std::uint16_t>(start),
                static_cast<std::uint16_t>(whole >> 16),
                static_cast<std::uint16_t>(whole & 0xFFFF),
                static_cast<std::uint16_t>(std::max(offset, 0.0)),
                static_cast<std::uint16_t>(shift)};
}

bool gives(const Kernels& kernels, const Ramp& ramp, Stretch stretch) noexcept {
    constexpr std::size_t kAtOnce = 1024;
    std::uint16_t stored[kAtOnce];
    std::uint8_t levels[kAtOnce];
    for (std::size_t begin = 0; begin < stretch.length; begin += kAtOnce) {
        const std::size_t count = std::min(kAtOnce, stretch.length - begin);
        const auto first = static_cast<std::uint32_t>(stretch.first) + begin;
        for (std::size_t i = 0; i < count; ++i) {
            stored[i] = static_cast<std::uint16_t>(first + i);
        }
        kernels.climb(stored, count, ramp, levels);
        if (std::memcmp(levels, stretch.levels + begin, count) != 0) {
            return false;
        }
    }
    return true;
}

}  // namespace

std::optional<Ramp> ramp_from_stretch(const Kernels& kernels, Stretch stretch, bool is_signed) {
    Thresholds thresholds;
    // A steeper line has fewer values than levels: not worth the search.
    if (stretch.length < 2 * kBrightest || !find_thresholds(stretch, thresholds) ||
        thresholds[kBrightest - 1] - thresholds[0] < 2 * kBrightest) {
        return std::nullopt;
    }
    const auto line = widest_line(thresholds);
    if (!line) {
        return std::nullopt;
    }
    const bool falls = stretch.levels[0] != 0;
    const std::int32_t largest = is_signed ? 0x7FFF : 0xFFFF;
    const std::int32_t last = stretch.first + static_cast<std::int32_t>(stretch.length) - 1;
    const std::int32_t begin = falls ? largest - last : stretch.first - (largest - 0xFFFF);
    const auto flip = static_cast<std::uint16_t>((is_signed ? 0x8000 : 0) ^ (falls ? 0xFFFF : 0));
    const auto ramp = ramp_from_line(*line, begin, flip);
    return ramp && gives(kernels, *ramp, stretch) ? ramp : std::nullopt;
}

}  // namespace spinert
