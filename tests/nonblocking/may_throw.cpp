// error: function with 'nonblocking' attribute should be declared noexcept
#include "rtrnn/realtime.h"

void step(float* y) RTRNN_NONBLOCKING { *y = 0.0f; }
