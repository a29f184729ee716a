// The library's own kernels, in which a square root allocates: caught wherever a kernel can reach one.
// error: function with 'nonblocking' attribute must not call non-'nonblocking' function '.*with_unary_kind
// error: function with 'nonblocking' attribute must not call non-'nonblocking' function '.*gru_before_tiles
#include <cstdlib>

static float allocating(float x) {
    std::free(std::malloc(1));
    return x;
}
#define __builtin_sqrtf(x) allocating(x)
#include "kernels/isa/scalar.cpp"
