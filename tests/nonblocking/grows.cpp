// error: function with 'nonblocking' attribute must not call non-'nonblocking' function 'std::vector<.*>::push_back'
#include <vector>

#include "rtrnn/realtime.h"

void step(std::vector<float>& values) noexcept RTRNN_NONBLOCKING { values.push_back(1.0f); }
