#pragma once

#include <cstdint>
#include <optional>

#include "plan/lowering.hpp"

namespace rtrnn {

// y (batch, rows) = activation(x (batch, cols) weight^T + bias), weight (rows, cols) row-major, bias (rows) or null.
void emit_linear(Lowering& lowering, Ref x, Ref y, const float* weight, const float* bias, std::int64_t rows, std::int64_t cols,
                 std::int64_t batch, std::optional<Activation> activation);

}  // namespace rtrnn
