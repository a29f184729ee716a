// error: attribute 'nonblocking' should not be added via type conversion
#include "kernels/kernels.hpp"

namespace {
void sums(const rtrnn::Matrix&, std::int32_t, const rtrnn::Operand&, std::int32_t, const float*, float* out) noexcept { *out = *new float(1.0f); }
}  // namespace

rtrnn::TileSums function() { return sums; }
