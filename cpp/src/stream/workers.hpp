// Workers: the threads that help a Stream with the parts of its large calls (plan/parts).
//
// The calling thread offers each part to a worker, computes the first one, and then takes back and computes itself every part that no
// worker has begun. For one that a worker has begun it waits as long as its own took; then it computes that one too, and the worker's
// result is dropped. So it never depends on a worker being scheduled: workers that sleep, or share a processor, cost speed alone. What makes
// that safe is that a worker sees nothing but its own memory: operands are copied there before the offer and results back after it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "plan/plan.hpp"
#include "rtrnn/realtime.h"

namespace rtrnn {

class RTRNN_EXPORT Workers {
public:
    // Starts options.count - 1 threads, each with memory for `own_size` floats. Throws Error(unsupported) when the system refuses one,
    // Error(invalid_argument) for a processor that there is none of.
    Workers(const ThreadOptions& options, std::size_t own_size);
    // Waits until every worker is awake and gone: at most the longest nap, 5 ms.
    ~Workers();
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;

    // Runs the parts that begin at `call`. Allocates nothing, takes no lock, makes no system call.
    void run(const Call* call, float* arena) noexcept RTRNN_NONBLOCKING;

    // Parts whose result came from a worker.
    std::uint64_t helped() const noexcept RTRNN_NONBLOCKING { return helped_; }
    std::size_t memory_bytes() const noexcept RTRNN_NONBLOCKING;

private:
    // free -> offered (caller) -> taken (worker) -> done (worker) -> free (caller); offered -> free and taken -> dropped (caller, who then
    // computes the part); dropped -> free (worker).
    enum class Turn : std::int32_t { free, offered, taken, done, dropped };

    struct alignas(2 * cache_line) Worker {
        std::atomic<Turn> turn{Turn::free};
        std::atomic<bool> awake{true};
        std::atomic<std::uint32_t> wanted{0};   // parts there were for it, offered or not
        const RemotePart* part = nullptr;       // the rest is the caller's when free, the worker's when taken
        AlignedArray<float> memory;
        bool asked = false;                     // the caller's: this part was offered
        std::thread thread;
    };

    void work(Worker& worker) noexcept;
    void nap(Worker& worker) noexcept;
    void stop() noexcept;

    std::size_t count_ = 0, own_size_;
    std::unique_ptr<Worker[]> workers_;
    std::int64_t spin_ns_;
    std::int64_t process_;
    std::uint64_t helped_ = 0;
    std::atomic<bool> stop_{false};
};

}  // namespace rtrnn
