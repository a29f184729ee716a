// error: function with 'nonblocking' attribute must not call non-'nonblocking' function 'malloc'
#include <cstdlib>

#include "rtrnn/realtime.h"

void* step(std::size_t n) noexcept RTRNN_NONBLOCKING { return std::malloc(n); }
