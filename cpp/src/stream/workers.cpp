#include "stream/workers.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <system_error>

#include "error.hpp"
#include "stream/float_mode.hpp"
#include "stream/processor.hpp"

namespace rtrnn {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto first_nap = std::chrono::microseconds(50), longest_nap = std::chrono::microseconds(5000);
constexpr int looks_per_clock = 64;   // how often a worker that spins looks for work before it looks at the clock

void copy(const std::vector<PartCopy>& transfers, bool in, float* arena, float* own) noexcept {
    for (const PartCopy& t : transfers) {
        float* const outside = arena + t.arena;
        float* const inside = own + t.own;
        std::memcpy(in ? inside : outside, in ? outside : inside, t.size * sizeof(float));
    }
}

}  // namespace

Workers::Workers(const ThreadOptions& options, std::size_t own_size)
    : own_size_(own_size), workers_(new Worker[static_cast<std::size_t>(options.count - 1)]),
      spin_ns_(static_cast<std::int64_t>(std::min(options.spin_ms, 1e9) * 1e6)), process_(process_id()) {
    try {
        const SignalsBlocked guard;   // signals are for the program's own threads
        for (std::size_t i = 0; i + 1 < static_cast<std::size_t>(options.count); ++i) {
            Worker& worker = workers_[i];
            worker.memory = aligned_array<float>(own_size_);
            worker.thread = std::thread([this, &worker] { work(worker); });
            ++count_;
            if (!options.cpus.empty() && !pin(worker.thread, options.cpus[i]))
                throw Error(ErrorKind::invalid_argument, "cpus: a thread cannot be pinned to processor " + std::to_string(options.cpus[i]));
        }
    } catch (const std::system_error& error) {
        stop();
        throw Error(ErrorKind::unsupported, "threads: the system refused to start thread " + std::to_string(count_ + 2) + " of " +
                                                std::to_string(options.count) + ": " + error.what());
    } catch (...) {
        stop();
        throw;
    }
}

Workers::~Workers() { stop(); }

void Workers::stop() noexcept {
    stop_.store(true, std::memory_order_relaxed);
    const bool same_process = process_id() == process_;   // a forked child has the memory but not the threads
    for (std::size_t i = 0; i < count_; ++i) {
        if (same_process) workers_[i].thread.join();
        else workers_[i].thread.detach();
    }
}

void Workers::run(const Call* call, float* arena) noexcept RTRNN_NONBLOCKING {
    const std::size_t helpers = static_cast<std::size_t>(call->parts) - 1;
    for (std::size_t i = 0; i < helpers; ++i) {
        Worker& worker = workers_[i];
        worker.wanted.store(worker.wanted.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        worker.asked = worker.awake.load(std::memory_order_relaxed) && worker.turn.load(std::memory_order_acquire) == Turn::free;
        if (!worker.asked) continue;
        worker.part = call[i + 1].remote;
        copy(worker.part->in, true, arena, worker.memory.get());
        worker.turn.store(Turn::offered, std::memory_order_release);
    }
    const std::uint64_t begin = processor_ticks();
    call->kernel(call->args, arena);
    const std::uint64_t patience = processor_ticks() - begin;
    for (std::size_t i = 0; i < helpers; ++i) {
        Worker& worker = workers_[i];
        Turn turn = Turn::offered;
        if (worker.asked && !worker.turn.compare_exchange_strong(turn, Turn::free, std::memory_order_relaxed)) continue;
        worker.asked = false;
        call[i + 1].kernel(call[i + 1].args, arena);
    }
    const std::uint64_t waiting_since = processor_ticks();
    for (std::size_t i = 0; i < helpers; ++i) {
        Worker& worker = workers_[i];
        if (!worker.asked) continue;
        Turn turn = worker.turn.load(std::memory_order_acquire);
        while (turn != Turn::done && processor_ticks() - waiting_since < patience) {
            processor_pause();
            turn = worker.turn.load(std::memory_order_acquire);
        }
        if (turn != Turn::done) {
            turn = Turn::taken;
            if (worker.turn.compare_exchange_strong(turn, Turn::dropped, std::memory_order_acquire)) {
                call[i + 1].kernel(call[i + 1].args, arena);
                continue;
            }
        }
        copy(worker.part->out, false, arena, worker.memory.get());
        ++helped_;
        worker.turn.store(Turn::free, std::memory_order_relaxed);
    }
}

void Workers::work(Worker& worker) noexcept {
    const FloatMode mode;   // else that of the thread that made the Stream
    const auto spin = std::chrono::nanoseconds(spin_ns_);
    auto last = Clock::now();
    for (int looks = 0; !stop_.load(std::memory_order_relaxed); ++looks) {
        if (worker.turn.load(std::memory_order_relaxed) == Turn::offered) {
            Turn turn = Turn::offered;
            if (!worker.turn.compare_exchange_strong(turn, Turn::taken, std::memory_order_acquire)) continue;
            worker.part->kernel(worker.part->args.get(), worker.memory.get());
            turn = Turn::taken;
            if (!worker.turn.compare_exchange_strong(turn, Turn::done, std::memory_order_release, std::memory_order_relaxed))
                worker.turn.store(Turn::free, std::memory_order_release);
            last = Clock::now();
        } else if (looks % looks_per_clock == 0 && Clock::now() - last > spin) {
            nap(worker);
            last = Clock::now();
        } else {
            processor_pause();
        }
    }
}

// Sleeps until a step has wanted this worker: it is late for that one, but awake for the next.
void Workers::nap(Worker& worker) noexcept {
    const std::uint32_t wanted = worker.wanted.load(std::memory_order_relaxed);
    worker.awake.store(false, std::memory_order_relaxed);
    for (auto length = first_nap; worker.wanted.load(std::memory_order_relaxed) == wanted && !stop_.load(std::memory_order_relaxed);
         length = std::min(2 * length, longest_nap))
        std::this_thread::sleep_for(length);
    worker.awake.store(true, std::memory_order_relaxed);
}

std::size_t Workers::memory_bytes() const noexcept RTRNN_NONBLOCKING { return sizeof *this + count_ * (sizeof(Worker) + own_size_ * sizeof(float)); }

}  // namespace rtrnn
