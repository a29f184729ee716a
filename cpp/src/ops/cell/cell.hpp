// What rnn, gru and lstm share: operand checks, gate activations, packing.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "ops/op.hpp"
#include "plan/lowering.hpp"

namespace rtrnn {

// Checks x (I), h (R), weight_ih (gates*H, I), weight_hh (gates*H, R) and the biases (gates*H), of which weight_ih is
// input `first_weight`; returns H. Also checks `activations`, `alpha`, `beta`, `clip` and `direction`.
std::int64_t check_cell(const ShapeRule& rule, int gates, std::size_t first_weight, std::size_t activations);

// Sizes, weights, biases, activations and clip of a cell whose weight_ih is input `first_weight`. `hh_gates` are the gates
// whose recurrent matrix goes into weight_hh.
CellArgs cell_args(Lowering& lowering, const PlanNode& node, Cell cell, int gates, std::size_t first_weight,
                   const std::vector<int>& hh_gates, std::initializer_list<UnaryKind> standard);

}  // namespace rtrnn
