// The message of the last call that failed, one per thread, and what turns an exception into it.
#pragma once

#include <exception>
#include <string>

namespace rtrnn {

inline thread_local std::string last_error;

inline void set_last_error(const char* message) noexcept {
    try {
        last_error = message;
    } catch (...) {
        last_error.clear();
    }
}

// Runs `make` and turns an exception into `failure` and a message.
template <class F>
auto guarded(F make, decltype(make()) failure = {}) noexcept -> decltype(make()) {
    try {
        return make();
    } catch (const std::exception& error) {
        set_last_error(error.what());
        return failure;
    }
}

}  // namespace rtrnn
