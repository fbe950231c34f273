// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <vector>

#include "kernels.hpp"

namespace spinert {

/// How rows of `n_in` pixels become `n_out` wide.
class AcrossTable {
 public:
    /// The weights of Pillow's antialiased bilinear filter in its fixed point (src/libImaging/
    /// Resample.c, precompute_coeffs and normalize_coeffs_8bpc): a triangle as wide as the step,
    /// normalised in float64, then rounded half up to 22 bits.
    void fill(std::int32_t n_in, std::int32_t n_out, const Kernels& kernels);

    /// Valid until the next fill().
    Across across() const noexcept {
        return {groups_.data(), groups_.size(), firsts_.data(), windows_.data(), weights_.data()};
    }
    /// Bytes that may be read from the last pixel of a row on.
    std::size_t reach() const noexcept { return kWindow + kQuad * most_quads_; }

 private:
    void add_windows(OutputGroup& group, const std::int32_t* firsts, const Kernels& kernels);
    void add_window(OutputGroup& group, std::int32_t offset);

    std::vector<OutputGroup> groups_;
    std::vector<std::int32_t> firsts_;
    std::vector<Window> windows_;
    std::vector<std::uint32_t> weights_;
    std::size_t most_quads_ = 0;
};

/// One output row is a weighted sum of the rows [first, first + count).
struct RowTaps {
    std::size_t first;
    std::size_t count;
    std::size_t weights;  // index of the first packed weight: [quads][kQuad]

    std::size_t quads() const noexcept { return (count + kQuad - 1) / kQuad; }
};

/// How `n_in` rows become `n_out`, by the weights of AcrossTable.
class DownTable {
 public:
    void fill(std::int32_t n_in, std::int32_t n_out, const Kernels& kernels);

    const RowTaps& taps(std::size_t out) const noexcept { return taps_[out]; }
    const std::uint32_t* weights(const RowTaps& taps) const noexcept {
        return weights_.data() + taps.weights;
    }
    std::size_t most_taps() const noexcept { return most_taps_; }

 private:
    std::vector<RowTaps> taps_;
    std::vector<std::uint32_t> weights_;
    std::size_t most_taps_ = 0;
};

/// The tables in use; a few, the one unused for longest goes first.
template <typename Table>
class ResampleTables {
 public:
    /// `kernels` outlives the tables.
    explicit ResampleTables(const Kernels& kernels) noexcept : kernels_(kernels) {}

    /// Valid until the next-but-`kKept` call.
    const Table& get(std::int32_t n_in, std::int32_t n_out) {
        ++now_;
        Kept* oldest = nullptr;
        for (Kept& kept : kept_) {
            if (kept.n_in == n_in && kept.n_out == n_out) {
                kept.used = now_;
                return kept.table;
            }
            oldest = oldest == nullptr || kept.used < oldest->used ? &kept : oldest;
        }
        if (kept_.size() < kKept) {
            kept_.reserve(kKept);  // references stay valid
            oldest = &kept_.emplace_back();
        }
        oldest->n_in = 0;  // not found again, should filling fail
        oldest->table.fill(n_in, n_out, kernels_);
        oldest->n_in = n_in;
        oldest->n_out = n_out;
        oldest->used = now_;
        return oldest->table;
    }

 private:
    static constexpr std::size_t kKept = 32;
    struct Kept {
        std::int32_t n_in = 0;
        std::int32_t n_out = 0;
        std::uint64_t used = 0;
        Table table;
    };
    const Kernels& kernels_;
    std::vector<Kept> kept_;
    std::uint64_t now_ = 0;
};

}  // namespace spinert
