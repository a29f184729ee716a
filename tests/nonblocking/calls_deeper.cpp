// error: must not call non-'nonblocking' function '\(anonymous namespace\)::gates<3>'
#include <cstdlib>

#include "rtrnn/realtime.h"

namespace {
float* room(std::size_t n) { return static_cast<float*>(std::malloc(n)); }
template <int n>
float* gates(float x) {
    float* y = room(n);
    y[0] = x;
    return y;
}
}  // namespace

float* step(float x) noexcept RTRNN_NONBLOCKING { return gates<3>(x); }
