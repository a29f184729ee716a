// What a periodic thread asks of the operating system. On Linux all of it is there; elsewhere a wish that cannot be granted becomes a note.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "rtrnn/realtime.h"

namespace rtrnn {

// CLOCK_MONOTONIC, in nanoseconds. Real-time safe: on Linux no system call.
std::int64_t monotonic_ns() noexcept RTRNN_NONBLOCKING;

// Sleeps until that clock shows `time_ns`; returns at once when it already does.
void sleep_until_ns(std::int64_t time_ns) noexcept;

struct ThreadWishes {
    int priority = 0;           // SCHED_FIFO from 1 to 99; 0: as the system schedules others
    int cpu = -1;               // the one CPU to run on; -1: any
    bool lock_memory = false;   // mlockall: no page of the process is ever swapped out, or faults when it is first used
};

// Applies them to the calling thread, faults its stack in and makes its timers precise. Gives what could not be had, and why.
std::vector<std::string> prepare_thread(const ThreadWishes& wishes);

}  // namespace rtrnn
