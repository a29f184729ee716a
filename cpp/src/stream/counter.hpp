// Counter: a number that one thread counts up and any other may read.
#pragma once

#include <atomic>
#include <cstdint>

#include "rtrnn/realtime.h"

namespace rtrnn {

// Relaxed: a reader sees every value in the end, in order, and nothing else is to be concluded from it. One thread writes, so that adding
// needs no locked instruction: what it costs is a load and a store.
class Counter {
public:
    Counter() = default;
    Counter(const Counter& other) noexcept RTRNN_NONBLOCKING : value_(other.get()) {}
    Counter& operator=(const Counter& other) noexcept RTRNN_NONBLOCKING {
        set(other.get());
        return *this;
    }
    std::uint64_t get() const noexcept RTRNN_NONBLOCKING { return value_.load(std::memory_order_relaxed); }
    void set(std::uint64_t value) noexcept RTRNN_NONBLOCKING { value_.store(value, std::memory_order_relaxed); }
    void add(std::uint64_t count) noexcept RTRNN_NONBLOCKING { set(get() + count); }

private:
    static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
    std::atomic<std::uint64_t> value_{0};
};

// What a Stream counts.
struct Counters {
    Counter steps;        // timesteps taken
    Counter nonfinite;    // timesteps refused or held because of a NaN or an infinity
    Counter held_in_a_row;   // timesteps held since the last good one
    Counter limited;      // timesteps of which an output limit changed an output (plan/limits.hpp)
};

}  // namespace rtrnn
