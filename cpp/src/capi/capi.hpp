// The C handles: a mark that tells what a handle is, and the C++ object. Bindings that make a plan in C++ hand it to C callers as one.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "plan/plan.hpp"
#include "rtrnn/rtrnn.h"
#include "stream/batch.hpp"
#include "stream/stream.hpp"

namespace rtrnn::capi {

// Whether a thread is using a handle. To ask and to set it is one exchange, 2 to 3 ns when nobody else does.
class Busy {
public:
    Busy() = default;
    Busy(Busy&&) noexcept {}   // a handle that is moved is in nobody's use
    bool enter() noexcept RTRNN_NONBLOCKING { return !used_.exchange(true, std::memory_order_acquire); }
    void leave() noexcept RTRNN_NONBLOCKING { used_.store(false, std::memory_order_release); }

private:
    std::atomic<bool> used_{false};
};

}  // namespace rtrnn::capi

struct rtrnn_plan {
    static constexpr std::uint32_t live = 0x72506c61;
    std::uint32_t mark = live;
    std::shared_ptr<const rtrnn::Plan> plan;
    std::vector<std::pair<std::string, std::string>> metadata = {};   // sorted by key

    explicit rtrnn_plan(std::shared_ptr<const rtrnn::Plan> p) : plan(std::move(p)) {}
};

struct rtrnn_stream {
    static constexpr std::uint32_t live = 0x72537472;
    std::uint32_t mark = live;
    mutable rtrnn::capi::Busy busy;
    rtrnn::Stream stream;
    std::size_t x_size, y_size;                // floats of all inputs, of all outputs
    std::vector<const float*> inputs;          // room for the addresses that process() is given
    std::vector<float*> outputs;

    explicit rtrnn_stream(rtrnn::Stream s);
};

struct rtrnn_batch {
    static constexpr std::uint32_t live = 0x72426174;
    std::uint32_t mark = live;
    mutable rtrnn::capi::Busy busy;
    rtrnn::Batch batch;
    std::vector<const float*> inputs;
    std::vector<float*> outputs;

    explicit rtrnn_batch(rtrnn::Batch b) : batch(std::move(b)), inputs(batch.plan().inputs().size()), outputs(batch.plan().outputs().size()) {}
};
