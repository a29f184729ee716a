// error: attribute 'nonblocking' should not be added via type conversion
#include "kernels/kernels.hpp"

namespace {
void arrange(std::int16_t* values, std::int32_t) noexcept { *values = *new std::int16_t(1); }
}  // namespace

void put(rtrnn::Matrix& matrix) { matrix.arrange = arrange; }
