/* compiles: the promise from C */
#include "rtrnn/rtrnn.h"

void control(rtrnn_stream* stream, const float* x, float* y) RTRNN_NONBLOCKING {
    rtrnn_stream_step_copy(stream, x, y);
    rtrnn_stream_prepare(stream);
}
