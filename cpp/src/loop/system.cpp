#include "loop/system.hpp"

#include <chrono>
#include <cstring>
#include <thread>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#endif

namespace rtrnn {
namespace {

// More than a step and what the system puts on the stack for a signal take; half of the stack that musl gives a thread.
constexpr std::size_t stack_bytes = 64 * 1024, page_bytes = 4096;

#if defined(__GNUC__)
__attribute__((noinline))
#endif
void fault_stack_in() noexcept {
    char stack[stack_bytes];
    volatile char* const touched = stack;   // what is written through it cannot be left out
    for (std::size_t i = 0; i < stack_bytes; i += page_bytes) touched[i] = 0;
}

#if defined(__linux__)

std::string refused(const std::string& what, int error, const char* hint) {
    std::string note = what + " was refused: " + std::strerror(error);
    if (error == EPERM || error == ENOMEM) note += hint;
    return note;
}

void apply(const ThreadWishes& wishes, std::vector<std::string>& notes) {
    pthread_setname_np(pthread_self(), "rtrnn-loop");
    // Without this a thread of normal priority wakes up to 50 us late, so that the system can wake several at once.
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
    if (wishes.cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        if (wishes.cpu < CPU_SETSIZE) CPU_SET(static_cast<unsigned>(wishes.cpu), &set);
        if (const int error = pthread_setaffinity_np(pthread_self(), sizeof set, &set))
            notes.push_back(refused("CPU " + std::to_string(wishes.cpu), error, ""));
    }
    if (wishes.priority > 0) {
        sched_param parameters{};
        parameters.sched_priority = wishes.priority;
        if (const int error = pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameters))
            notes.push_back(refused("SCHED_FIFO priority " + std::to_string(wishes.priority), error,
                                    " (it needs CAP_SYS_NICE or an rtprio limit); running at normal priority"));
    }
    if (wishes.lock_memory && mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
        notes.push_back(refused("locking memory", errno, " (it needs CAP_IPC_LOCK or a higher memlock limit)"));
}

#else

void apply(const ThreadWishes& wishes, std::vector<std::string>& notes) {
    if (wishes.cpu >= 0) notes.push_back("a thread of one CPU is not available on this system");
    if (wishes.priority > 0) notes.push_back("SCHED_FIFO is not available on this system; running at normal priority");
    if (wishes.lock_memory) notes.push_back("locking memory is not available on this system");
}

#endif

}  // namespace

std::vector<std::string> prepare_thread(const ThreadWishes& wishes) {
    std::vector<std::string> notes;
    apply(wishes, notes);
    fault_stack_in();
    return notes;
}

// The clock is read in the process's own memory (vDSO), which no compiler can know.
#if defined(__clang__) && defined(__has_warning)
#if __has_warning("-Wfunction-effects")
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wfunction-effects"
#define RTRNN_POP_DIAGNOSTIC
#endif
#endif

std::int64_t monotonic_ns() noexcept RTRNN_NONBLOCKING {
#if defined(__linux__)
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
#else
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
#endif
}

#if defined(RTRNN_POP_DIAGNOSTIC)
#pragma clang diagnostic pop
#endif

#if defined(__linux__)

void sleep_until_ns(std::int64_t time_ns) noexcept {
    timespec until{};
    until.tv_sec = static_cast<time_t>(time_ns / 1'000'000'000);
    until.tv_nsec = static_cast<long>(time_ns % 1'000'000'000);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
    }
}

#else

void sleep_until_ns(std::int64_t time_ns) noexcept {
    const auto since_epoch = std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::nanoseconds(time_ns));
    std::this_thread::sleep_until(std::chrono::steady_clock::time_point(since_epoch));
}

#endif

}  // namespace rtrnn
