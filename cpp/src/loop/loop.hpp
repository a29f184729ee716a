// Loop: a thread that steps a Stream once per period, from the latest observation to an action.
//
// Periods lie on a fixed grid, period_ns apart. In each: wake up lead_ns before the observation is due, warm the caches, take the latest
// observation when it is due, step, write the action, prepare the next step in the idle time. The thread neither allocates nor takes a
// lock, and calls nothing but the clock, the sleep and the Stream.
//
// observe, action, reset, counters and times may be called from other threads while it runs; observe from one at a time.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "loop/histogram.hpp"
#include "loop/mailbox.hpp"
#include "loop/system.hpp"
#include "stream/stream.hpp"

namespace rtrnn {

struct LoopOptions {
    std::int64_t period_ns = 1'000'000;
    std::int64_t deadline_ns = 0;   // an action is late this long after its observation was due; 0: a period
    std::int64_t lead_ns = 0;       // how long before that to wake up and warm the caches; less than a period
    std::int64_t stale_ns = 0;      // an observation older than this is no longer acted on; 0: observations do not age
    std::vector<float> watchdog;    // the action in place of a step that cannot be taken, all outputs; empty: the last action again
    ThreadWishes thread;
};

enum class LoopCounter {
    periods,        // in which the loop ran
    late,           // periods whose action came after the deadline,
    late_in_step,   // and of these, those whose step alone took longer
    skipped,        // periods left out because their deadline was over before they could begin
    stale,          // periods without an observation young enough: not stepped
    repeated,       // periods stepped on an observation that had been stepped on before
    nonfinite,      // periods whose step was refused or held because of a NaN or an infinity
    count
};

enum class LoopTime {
    step,       // inside Stream::step
    response,   // from when the observation was due until the action was written
    wake_up,    // from when the thread should have woken up until it did
    prepare,    // inside Stream::prepare
    count
};

constexpr std::size_t loop_counters = static_cast<std::size_t>(LoopCounter::count), loop_times = static_cast<std::size_t>(LoopTime::count);
using LoopCounters = std::array<std::uint64_t, loop_counters>;

struct LoopAction {
    std::uint64_t sequence = 0;   // actions written so far, this one included; 0: none yet
    std::int64_t age_ns = 0;      // since it was written
    Status status = Status::ok;   // of the step
    bool watchdog = false;        // no step's result: the observation was stale or the step refused
};

class RTRNN_EXPORT Loop {
public:
    // Continues from the Stream's state. Throws Error(invalid_argument) for options that make no sense.
    Loop(Stream stream, LoopOptions options);
    ~Loop();
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    // Returns once the thread is set up; throws Error(invalid_argument) when it runs already and std::system_error when there can be no
    // thread. What the system refused of the wishes is in notes(), and the loop runs without. Counters and times go on from an earlier run.
    void start();
    // Returns once the thread has ended, after a tenth of a second or a period at most. Does nothing when it does not run.
    void stop() noexcept;
    bool running() const noexcept RTRNN_NONBLOCKING { return running_.load(std::memory_order_acquire); }
    std::vector<std::string> notes() const;

    // All inputs, one behind the other in declared order. Real-time safe; one thread at a time.
    void observe(const float* values) noexcept RTRNN_NONBLOCKING { observations_.write(values, monotonic_ns()); }
    // The latest action: all outputs, one behind the other in declared order. Real-time safe; any thread.
    LoopAction action(float* values) const noexcept RTRNN_NONBLOCKING;   // `values` is undefined where the sequence is 0
    // The network starts from its initial state in the next period. Real-time safe; any thread.
    void reset() noexcept RTRNN_NONBLOCKING { reset_.store(true, std::memory_order_release); }

    std::size_t input_size() const noexcept RTRNN_NONBLOCKING { return observations_.size(); }
    std::size_t output_size() const noexcept RTRNN_NONBLOCKING { return actions_.size(); }
    const LoopOptions& options() const noexcept { return options_; }
    // Real-time safe; any thread.
    LoopCounters counters() const noexcept RTRNN_NONBLOCKING;
    // Allocates; any thread.
    HistogramSnapshot times(LoopTime time) const { return times_[static_cast<std::size_t>(time)].snapshot(); }

private:
    void run() noexcept;
    void warm_until(std::int64_t due) noexcept RTRNN_NONBLOCKING;
    void tick(std::int64_t due) noexcept RTRNN_NONBLOCKING;
    void count(LoopCounter counter, std::uint64_t n = 1) noexcept RTRNN_NONBLOCKING;
    void record(LoopTime time, std::int64_t duration_ns) noexcept RTRNN_NONBLOCKING { times_[static_cast<std::size_t>(time)].record(duration_ns); }

    // The thread's own.
    Stream stream_;
    LoopOptions options_;
    std::vector<float> observation_, action_;
    std::uint64_t stepped_ = 0;   // the observation that was stepped on last
    bool acted_ = false;          // action_ holds an action

    Mailbox observations_, actions_;
    std::array<std::atomic<std::uint64_t>, loop_counters> counters_{};
    std::array<Histogram, loop_times> times_;
    std::atomic<bool> running_{false}, stop_{false}, reset_{false};

    mutable std::mutex control_;   // of those who start and stop; the thread never takes it
    std::thread thread_;
    std::int64_t process_ = 0;
    std::vector<std::string> notes_;
};

}  // namespace rtrnn
