/* compiles: the promise from C */
#include "rtrnn/rtrnn.h"

rtrnn_status control(rtrnn_stream* stream) RTRNN_NONBLOCKING {
    const rtrnn_status status = rtrnn_stream_step(stream);
    if (status != RTRNN_OK) rtrnn_stream_reset(stream);
    rtrnn_stream_prepare(stream);
    return status;
}
