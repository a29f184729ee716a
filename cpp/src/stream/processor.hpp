// What threads need of the processor and the system beyond the standard library.
#pragma once

#include <chrono>
#include <cstdint>
#include <thread>

#if defined(_WIN32)
#include <intrin.h>
#else
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

#include "rtrnn/realtime.h"

namespace rtrnn {

// Told to the processor while a thread waits for another one.
inline void processor_pause() noexcept RTRNN_NONBLOCKING {
#if defined(_MSC_VER)
    _mm_pause();
#elif defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb" ::: "memory");   // waits about as long as x86's pause; yield does nothing on most cores
#endif
}

// A counter that runs with time, at any rate; read without a system call.
inline std::uint64_t processor_ticks() noexcept RTRNN_NONBLOCKING {
#if defined(_MSC_VER)
    return __rdtsc();
#elif defined(__x86_64__) || defined(__i386__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    std::uint64_t ticks;
    asm volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
    return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
#endif
}

// So that a thread of the parent is not waited for after a fork.
inline std::int64_t process_id() noexcept {
#if defined(_WIN32)
    return 0;   // there is no fork
#else
    return getpid();
#endif
}

// False when the system cannot, or the processor is not one of this process's.
inline bool pin([[maybe_unused]] std::thread& thread, [[maybe_unused]] int cpu) noexcept {
#if defined(__linux__)
    if (cpu < 0 || cpu >= CPU_SETSIZE) return false;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<unsigned>(cpu), &set);
    return pthread_setaffinity_np(thread.native_handle(), sizeof set, &set) == 0;
#else
    return false;
#endif
}

// Threads started while one of these lives take no signals.
class SignalsBlocked {
public:
#if defined(_WIN32)
    SignalsBlocked() noexcept {}
#else
    SignalsBlocked() noexcept {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

private:
    sigset_t before_;
#endif
};

}  // namespace rtrnn
