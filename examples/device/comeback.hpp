// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
//
// When to try again to come back to a stream, and when to give up.

#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <random>

#include "failure.hpp"

// Tries for as long as the server would keep the stream, counted from when its connection
// broke. A server that only opens streams and breaks them gets no new window: that takes
// progress, or a connection that lasted. A stream that never opened is not tried again.
class Comeback {
 public:
    using Milliseconds = std::chrono::milliseconds;

    // The stream has a connection; without one it would be kept for `window`.
    void opened(Milliseconds window) {
        window_ = window;
        opened_at_ = Clock::now();
    }

    // A frame got through: what breaks next is another failure.
    void progressed() {
        broken_at_.reset();
        tries_ = 0;
    }

    // How long to wait before the next try; nothing where it is time to give up.
    std::optional<Milliseconds> next_pause(const Failure& failure) {
        const auto now = Clock::now();
        if (opened_at_ && now - *opened_at_ >= std::min(kHealthy, window_)) progressed();
        opened_at_.reset();
        if (!broken_at_) broken_at_ = now;
        const auto left = std::chrono::duration_cast<Milliseconds>(*broken_at_ + window_ - now);
        if (left.count() <= 0 || !may_pass(failure)) return std::nullopt;
        return std::min(failure.retry_after + backoff(), left);
    }

 private:
    using Clock = std::chrono::steady_clock;

    static constexpr Milliseconds kFirstPause{50};
    static constexpr Milliseconds kLongestPause{1000};
    static constexpr int kMostDoublings = 5;
    static constexpr Milliseconds kHealthy{5000};

    // Longer each time, and not the same for all: devices that lost one server should
    // not come back at once.
    Milliseconds backoff() {
        const auto whole =
            std::min(kFirstPause * (1 << std::min(tries_++, kMostDoublings)), kLongestPause);
        std::uniform_int_distribution<Milliseconds::rep> part(whole.count() / 2, whole.count());
        return Milliseconds(part(random_));
    }

    Milliseconds window_{0};
    std::optional<Clock::time_point> opened_at_;
    std::optional<Clock::time_point> broken_at_;
    int tries_ = 0;
    std::mt19937 random_{std::random_device{}()};
};
