// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#include "resample.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <numeric>

namespace spinert {
namespace {

double triangle(double x) noexcept {
    const double distance = std::fabs(x);
    return distance < 1.0 ? 1.0 - distance : 0.0;
}

std::int32_t fixed_point(double weight) noexcept {
    return static_cast<std::int32_t>(0.5 + weight * (1 << kWeightBits));
}

/// The weights of one axis, zeros at either end of an output left out.
class Filter {
 public:
    Filter(std::int32_t n_in, std::int32_t n_out) noexcept
        : n_in_(n_in), scale_(static_cast<double>(n_in) / n_out), stretch_(std::max(scale_, 1.0)) {}

    /// Leaves the weights of `out` in weights(), and returns the first input they are for.
    std::int32_t set(std::int32_t out) {
        const double squeeze = 1.0 / stretch_;
        const double center = (out + 0.5) * scale_;
        auto first = std::max(0, static_cast<std::int32_t>(center - stretch_ + 0.5));
        const auto end = std::min(n_in_, static_cast<std::int32_t>(center + stretch_ + 0.5));
        exact_.clear();
        double total = 0.0;
        for (std::int32_t in = first; in < end; ++in) {
            exact_.push_back(triangle((in - center + 0.5) * squeeze));
            total += exact_.back();
        }
        weights_.clear();
        for (const double weight : exact_) {
            const std::int32_t rounded = fixed_point(total != 0.0 ? weight / total : weight);
            if (rounded == 0 && weights_.empty()) {
                ++first;
                continue;
            }
            weights_.push_back(rounded);
        }
        while (!weights_.empty() && weights_.back() == 0) {
            weights_.pop_back();
        }
        return first;
    }
    const std::vector<std::int32_t>& weights() const noexcept { return weights_; }

    /// Weights of taps [4 * quad, 4 * quad + 4), packed; 0 where there are none.
    void pack(std::size_t quad, const Kernels& kernels, std::uint32_t (&packed)[kQuad]) const {
        std::int32_t four[kQuad] = {};
        for (std::size_t tap = 0; tap < kQuad && kQuad * quad + tap < weights_.size(); ++tap) {
            four[tap] = weights_[kQuad * quad + tap];
        }
        kernels.pack(four, packed);
    }

 private:
    std::int32_t n_in_;
    double scale_;
    double stretch_;
    std::vector<double> exact_;
    std::vector<std::int32_t> weights_;
};

std::size_t quads_for(std::size_t taps) noexcept { return (taps + kQuad - 1) / kQuad; }

}  // namespace

void AcrossTable::fill(std::int32_t n_in, std::int32_t n_out, const Kernels& kernels) {
    groups_.clear();
    firsts_.clear();
    windows_.clear();
    weights_.clear();
    most_quads_ = 0;
    const auto lanes = static_cast<std::int32_t>(kernels.lanes);
    std::vector<Filter> filters(kernels.lanes, Filter(n_in, n_out));
    for (std::int32_t begin = 0; begin < n_out; begin += lanes) {
        std::size_t quads = 0;
        for (std::int32_t lane = 0; lane < lanes; ++lane) {
            // The last output stands in for missing ones.
            Filter& filter = filters[static_cast<std::size_t>(lane)];
            firsts_.push_back(filter.set(std::min(begin + lane, n_out - 1)));
            quads = std::max(quads, quads_for(filter.weights().size()));
        }
        OutputGroup group{static_cast<std::uint32_t>(quads),
                          static_cast<std::uint32_t>(weights_.size()), 0, 0};
        add_windows(group, firsts_.data() + begin, kernels);
        groups_.push_back(group);
        most_quads_ = std::max(most_quads_, quads);
        weights_.resize(weights_.size() + quads * kQuad * kernels.lanes);
        for (std::size_t quad = 0; quad < quads; ++quad) {
            for (std::size_t lane = 0; lane < kernels.lanes; ++lane) {
                std::uint32_t packed[kQuad];
                filters[lane].pack(quad, kernels, packed);
                for (std::size_t i = 0; i < kQuad; ++i) {
                    weights_[group.weights + (kQuad * quad + i) * kernels.lanes + lane] = packed[i];
                }
            }
        }
    }
}

void AcrossTable::add_windows(OutputGroup& group, const std::int32_t* firsts,
                              const Kernels& kernels) {
    group.window = static_cast<std::uint32_t>(windows_.size());
    const std::size_t lanes = kernels.lanes / kernels.parts;
    for (std::size_t part = 0; part < kernels.parts; ++part) {
        const std::int32_t* of_part = firsts + part * lanes;
        std::uint32_t n_windows = 0;
        for (std::size_t lane = 0; lane < lanes; ++n_windows) {
            if (n_windows == group.windows) {
                add_window(group, firsts[0]);
            }
            Window& window = windows_[group.window + n_windows];
            window.offsets[part] = of_part[lane];
            for (; lane < lanes; ++lane) {
                const std::int32_t at = of_part[lane] - window.offsets[part];
                if (at < 0 || static_cast<std::size_t>(at) + kQuad > kQuad * lanes) {
                    break;
                }
                std::uint8_t* index = window.index + kQuad * (part * lanes + lane);
                std::iota(index, index + kQuad, static_cast<std::uint8_t>(at));
            }
        }
    }
}

/// One that has nothing yet.
void AcrossTable::add_window(OutputGroup& group, std::int32_t offset) {
    Window& window = windows_.emplace_back();
    std::fill(std::begin(window.offsets), std::end(window.offsets), offset);
    std::memset(window.index, kElsewhere, sizeof window.index);
    ++group.windows;
}

void DownTable::fill(std::int32_t n_in, std::int32_t n_out, const Kernels& kernels) {
    taps_.clear();
    weights_.clear();
    most_taps_ = 0;
    Filter filter(n_in, n_out);
    for (std::int32_t out = 0; out < n_out; ++out) {
        const auto first = static_cast<std::size_t>(filter.set(out));
        const RowTaps taps{first, filter.weights().size(), weights_.size()};
        for (std::size_t quad = 0; quad < taps.quads(); ++quad) {
            std::uint32_t packed[kQuad];
            filter.pack(quad, kernels, packed);
            weights_.insert(weights_.end(), packed, packed + kQuad);
        }
        taps_.push_back(taps);
        most_taps_ = std::max(most_taps_, taps.count);
    }
}

}  // namespace spinert
