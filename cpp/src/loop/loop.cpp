#include "loop/loop.hpp"

#include <algorithm>
#include <cstring>
#include <future>

#include "error.hpp"
#include "stream/processor.hpp"

namespace rtrnn {
namespace {

// stop() waits no longer than this for a thread that sleeps.
constexpr std::int64_t longest_sleep_ns = 100'000'000;
constexpr std::int64_t longest_period_ns = 3'600'000'000'000;
constexpr std::uint64_t watchdog_note = 1 << 8;   // above the Status in a note

// Calls f(i, part, size) for the part of `values` that holds slot i.
template <class F>
void for_each_slot(const std::vector<Slot>& slots, std::vector<float>& values, F f) noexcept {
    float* part = values.data();
    for (std::size_t i = 0; i < slots.size(); ++i) {
        f(i, part, slots[i].size);
        part += slots[i].size;
    }
}

std::size_t total_size(const std::vector<Slot>& slots) {
    std::size_t size = 0;
    for (const Slot& slot : slots) size += slot.size;
    return size;
}

LoopOptions checked(LoopOptions options, std::size_t output_size) {
    const auto expect = [](bool good, const char* what) {
        if (!good) throw Error(ErrorKind::invalid_argument, std::string("loop: expected ") + what);
    };
    expect(options.period_ns > 0 && options.period_ns <= longest_period_ns, "a period above 0 and of at most an hour");
    if (options.deadline_ns == 0) options.deadline_ns = options.period_ns;
    expect(options.deadline_ns > 0 && options.deadline_ns <= options.period_ns, "a deadline above 0 and of at most a period");
    expect(options.lead_ns >= 0 && options.lead_ns < options.period_ns, "a lead time of at least 0 and less than a period");
    expect(options.stale_ns >= 0, "an age of at least 0 from which observations are stale");
    expect(options.watchdog.empty() || options.watchdog.size() == output_size, "a watchdog action with one value for each value of the outputs");
    expect(options.thread.priority >= 0 && options.thread.priority <= 99, "a priority from 0 to 99");
    expect(options.thread.cpu >= -1, "a CPU from 0 on, or -1 for any");
    return options;
}

}  // namespace

Loop::Loop(Stream stream, LoopOptions options)
    : stream_(std::move(stream)), options_(checked(std::move(options), total_size(stream_.plan().outputs()))),
      observation_(total_size(stream_.plan().inputs())), action_(total_size(stream_.plan().outputs())), observations_(observation_.size()),
      actions_(action_.size()) {}

Loop::~Loop() { stop(); }

void Loop::start() {
    const std::lock_guard<std::mutex> lock(control_);
    if (thread_.joinable()) throw Error(ErrorKind::invalid_argument, "the loop runs already; expected stop before start");
    stop_.store(false, std::memory_order_relaxed);
    process_ = process_id();
    std::promise<std::vector<std::string>> ready;
    std::future<std::vector<std::string>> notes = ready.get_future();
    thread_ = std::thread([this, ready = std::move(ready)]() mutable noexcept {
        try {
            ready.set_value(prepare_thread(options_.thread));
        } catch (...) {
            ready.set_exception(std::current_exception());
            return;
        }
        run();
    });
    try {
        notes_ = notes.get();
    } catch (...) {
        thread_.join();
        throw;
    }
    running_.store(true, std::memory_order_release);
}

void Loop::stop() noexcept {
    const std::lock_guard<std::mutex> lock(control_);
    if (!thread_.joinable()) return;
    stop_.store(true, std::memory_order_release);
    // A fork has no threads but the one that called it: there is nothing to wait for.
    if (process_ == process_id()) thread_.join();
    else thread_.detach();
    running_.store(false, std::memory_order_release);
}

std::vector<std::string> Loop::notes() const {
    const std::lock_guard<std::mutex> lock(control_);
    return notes_;
}

LoopAction Loop::action(float* values) const noexcept RTRNN_NONBLOCKING {
    const MailboxStamp found = actions_.read(values);
    if (found.sequence == 0) return {};
    return {found.sequence, monotonic_ns() - found.time_ns, static_cast<Status>(found.note & (watchdog_note - 1)),
            (found.note & watchdog_note) != 0};
}

LoopCounters Loop::counters() const noexcept RTRNN_NONBLOCKING {
    LoopCounters found{};
    for (std::size_t i = 0; i < loop_counters; ++i) found[i] = counters_[i].load(std::memory_order_relaxed);
    return found;
}

void Loop::count(LoopCounter counter, std::uint64_t n) noexcept RTRNN_NONBLOCKING {
    std::atomic<std::uint64_t>& value = counters_[static_cast<std::size_t>(counter)];
    value.store(value.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

void Loop::run() noexcept {
    const std::int64_t period = options_.period_ns, deadline = options_.deadline_ns, lead = options_.lead_ns;
    stream_.warm();
    std::int64_t due = monotonic_ns() + lead + std::min(period, longest_sleep_ns);
    while (!stop_.load(std::memory_order_acquire)) {
        const std::int64_t now = monotonic_ns(), wake_up = due - lead;
        if (now < wake_up) {
            const std::int64_t until = std::min(wake_up, now + longest_sleep_ns);
            sleep_until_ns(until);
            if (until == wake_up) record(LoopTime::wake_up, monotonic_ns() - wake_up);
            continue;
        }
        if (const std::int64_t behind = now - (due + deadline); behind >= 0) {
            // The grid stays; the next period is the first that can still be in time.
            const std::int64_t skipped = behind / period + 1;
            count(LoopCounter::skipped, static_cast<std::uint64_t>(skipped));
            due += skipped * period;
            continue;
        }
        warm_until(due);
        tick(due);
        due += period;
    }
}

void Loop::warm_until(std::int64_t due) noexcept RTRNN_NONBLOCKING {
    // Once is enough for a cold cache; again and again, as long as there is time, lest others take the cache while the thread waits.
    std::int64_t now = monotonic_ns(), longest = 0;
    while (now + longest < due) {
        const std::int64_t begin = now;
        stream_.warm();
        now = monotonic_ns();
        longest = std::max(longest, now - begin);
    }
    while (monotonic_ns() < due) processor_pause();
}

void Loop::tick(std::int64_t due) noexcept RTRNN_NONBLOCKING {
    if (reset_.load(std::memory_order_relaxed) && reset_.exchange(false, std::memory_order_acquire)) stream_.reset();
    const MailboxStamp seen = observations_.read(observation_.data());
    const bool stale = seen.sequence == 0 || (options_.stale_ns > 0 && monotonic_ns() - seen.time_ns > options_.stale_ns);
    std::int64_t step_ns = 0;
    Status status = Status::ok;
    if (stale) {
        count(LoopCounter::stale);
    } else {
        for_each_slot(stream_.plan().inputs(), observation_, [&](std::size_t i, float* part, std::size_t size) {
            std::memcpy(stream_.input(i), part, size * sizeof(float));
        });
        const std::int64_t begin = monotonic_ns();
        status = stream_.step();
        step_ns = monotonic_ns() - begin;
        record(LoopTime::step, step_ns);
        if (status != Status::ok) count(LoopCounter::nonfinite);
        if (seen.sequence == stepped_) count(LoopCounter::repeated);
        stepped_ = seen.sequence;
    }

    const bool good = !stale && (status == Status::ok || status == Status::held);
    if (good) {
        for_each_slot(stream_.plan().outputs(), action_, [&](std::size_t i, float* part, std::size_t size) {
            std::memcpy(part, stream_.output(i), size * sizeof(float));
        });
    } else if (!options_.watchdog.empty()) {
        std::copy(options_.watchdog.begin(), options_.watchdog.end(), action_.begin());
    }
    // Until there was an action there is none to hold.
    acted_ = acted_ || good || !options_.watchdog.empty();
    if (acted_) actions_.write(action_.data(), monotonic_ns(), static_cast<std::uint64_t>(status) | (good ? 0 : watchdog_note));

    const std::int64_t response_ns = monotonic_ns() - due;
    record(LoopTime::response, response_ns);
    count(LoopCounter::periods);
    if (response_ns > options_.deadline_ns) {
        count(LoopCounter::late);
        if (step_ns > options_.deadline_ns) count(LoopCounter::late_in_step);
    }
    const std::int64_t begin = monotonic_ns();
    stream_.prepare();
    if (!stale) record(LoopTime::prepare, monotonic_ns() - begin);
}

}  // namespace rtrnn
