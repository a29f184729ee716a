// error: function with 'nonblocking' attribute must not call non-'nonblocking' function 'rtrnn_plan_load'
#include "rtrnn/rtrnn.h"

rtrnn_status step(const char* path, rtrnn_plan** plan) noexcept RTRNN_NONBLOCKING { return rtrnn_plan_load(path, nullptr, plan); }
