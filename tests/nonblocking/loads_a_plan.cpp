// error: function with 'nonblocking' attribute must not call non-'nonblocking' function 'rtrnn_plan_load'
#include "rtrnn/rtrnn.h"

rtrnn_plan* step(const char* path) noexcept RTRNN_NONBLOCKING { return rtrnn_plan_load(path, "", ""); }
