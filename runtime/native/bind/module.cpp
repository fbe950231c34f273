// Copyright SpineRT authors. SPDX-License-Identifier: Apache-2.0
#include <nanobind/nanobind.h>

namespace nb = nanobind;

void register_grey(nb::module_& m);
void register_inputs(nb::module_& m);
void register_nms(nb::module_& m);

NB_MODULE(_native, m) {
    m.doc() = "Compiled hot paths; use spinert.runtime.preprocess and .decide instead.";
    register_grey(m);
    register_inputs(m);
    register_nms(m);
}
