/* error: function with 'nonblocking' attribute must not call non-'nonblocking' function 'rtrnn_stream_fork' */
#include "rtrnn/rtrnn.h"

void control(rtrnn_stream* stream, rtrnn_stream** fork) RTRNN_NONBLOCKING { rtrnn_stream_fork(stream, fork); }
