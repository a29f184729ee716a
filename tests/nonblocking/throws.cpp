// error: function with 'nonblocking' attribute must not throw or catch exceptions
#include "rtrnn/realtime.h"

void step(float x) noexcept RTRNN_NONBLOCKING {
    if (x != x) throw x;
}
