// Ops that only a Plan has: what several nodes of a Graph become together.
#pragma once

#include "ops/op.hpp"

namespace rtrnn {

// Inputs x, mean, deviation (or its reciprocal), all of one length.
extern const Op normalize_by_division;
extern const Op normalize_by_product;

}  // namespace rtrnn
