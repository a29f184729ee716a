// error: attribute 'nonblocking' should not be added via type conversion
#include "kernels/kernels.hpp"

namespace {
bool all_finite(const float* x, std::size_t) noexcept { return *x == *new float(1.0f); }
}  // namespace

void put(rtrnn::KernelTable& table) { table.all_finite = all_finite; }
