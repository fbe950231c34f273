// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#pragma once
#include <optional>

#include "grey.hpp"

namespace spinert {

/// Arithmetic that gives the level of every value of `stretch`, where there is some: nearly always
/// for windows and plain stretching, in which levels lie along a straight line between two clips.
/// Nothing is assumed of where the levels come from: `kernels` were asked for each of them.
std::optional<Ramp> ramp_from_stretch(const Kernels& kernels, Stretch stretch, bool is_signed);

}  // namespace spinert
