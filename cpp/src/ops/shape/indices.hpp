// Ops that only rearrange elements, seen as lists: element i of the result is element indices[i] of the operand.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/graph.hpp"

namespace rtrnn {

std::vector<std::int32_t> permute_indices(const Shape& x, const std::vector<std::int64_t>& axes);
std::vector<std::int32_t> expand_indices(const Shape& x, const Shape& y);
// slice, gather, permute, reshape, expand or last.
bool is_rearrangement(const Node& node);
std::vector<std::int32_t> rearrangement(const Node& node, const Shape& x, const Shape& y);

}  // namespace rtrnn
