// The part of rtrnn._core that only `rtrnn bench` uses.
#pragma once

#include <pybind11/pybind11.h>

void bind_bench(pybind11::module_& m);
