// Batch: many Streams of one Plan, stepped in lockstep. Their arenas lie in one block of memory, and each call is made for many of them
// before the next one, so that the weights that it reads serve them all; each Stream has the bits that it would have alone.
//
// Every member but the constructor is noexcept, allocates nothing, takes no lock, makes no system call, and may be called from a
// real-time thread. A Batch and its Streams belong to one thread at a time.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "stream/stream.hpp"

namespace rtrnn {

class RTRNN_EXPORT Batch {
public:
    // `count` >= 1 Streams in their initial state.
    Batch(std::shared_ptr<const Plan> plan, std::size_t count, OnNonFinite on_nonfinite = OnNonFinite::error);
    Batch(const Batch& other);   // a fork: the same states in memory of its own

    // One timestep of each: inputs[i] holds (size(), size of input i) floats, outputs[i] receives (size(), size of output i). On a status other
    // than ok and held every Stream is as before and `failed_at` is the first that failed, bad inputs before bad results.
    // held: those whose input or new state was not finite repeat their last output, the others have advanced.
    Status step(const float* const* inputs, float* const* outputs, std::size_t* failed_at) noexcept RTRNN_NONBLOCKING;
    // Stream::prepare of each.
    void prepare() noexcept RTRNN_NONBLOCKING;

    std::size_t size() const noexcept RTRNN_NONBLOCKING { return streams_.size(); }
    // One of them, to be read, written, reset, or stepped by itself.
    Stream& stream(std::size_t i) noexcept RTRNN_NONBLOCKING { return streams_[i]; }
    const Stream& stream(std::size_t i) const noexcept RTRNN_NONBLOCKING { return streams_[i]; }
    const Plan& plan() const noexcept RTRNN_NONBLOCKING { return *plan_; }
    // Stream::set_hold_steps of each.
    void set_hold_steps(std::uint64_t steps) noexcept RTRNN_NONBLOCKING {
        for (Stream& stream : streams_) stream.set_hold_steps(steps);
    }

private:
    void run(const std::vector<Call>& calls, std::size_t first, std::size_t count) noexcept RTRNN_NONBLOCKING;
    void prepare(std::size_t first, std::size_t count) noexcept RTRNN_NONBLOCKING;
    void make_even(Stream& stream) noexcept RTRNN_NONBLOCKING;
    void take_back_holds(std::size_t count) noexcept RTRNN_NONBLOCKING;
    float* arena(std::size_t n) noexcept RTRNN_NONBLOCKING { return memory_.get() + n * stride_; }

    std::shared_ptr<const Plan> plan_;
    std::size_t stride_;   // from one arena to the next, in floats
    std::size_t turn_;     // Streams that a call is made for before the next one
    AlignedArray<float> memory_;
    std::vector<Stream> streams_;
    std::vector<Status> status_;
};

}  // namespace rtrnn
