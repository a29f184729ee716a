#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "plan/lowering.hpp"

namespace rtrnn {

// How a weight is packed; `label` is for messages, see matrix_label.
struct WeightPacking {
    Precision precision = Precision::f32;
    std::string label = "weight";
};

// y (batch, rows) = activation(x (batch, cols) weight^T + bias), weight (rows, cols) row-major, bias (rows) or null.
void emit_linear(Lowering& lowering, Ref x, Ref y, const float* weight, const float* bias, std::int64_t rows, std::int64_t cols,
                 std::int64_t batch, std::optional<Activation> activation, const WeightPacking& packing = {});

}  // namespace rtrnn
