// error: function with 'nonblocking' attribute must not call non-'nonblocking' constructor 'std::lock_guard<std::mutex>::lock_guard'
#include <mutex>

#include "rtrnn/realtime.h"

void step(std::mutex& mutex) noexcept RTRNN_NONBLOCKING { const std::lock_guard<std::mutex> lock(mutex); }
