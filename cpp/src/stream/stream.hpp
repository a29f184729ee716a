// Stream: one sequence in progress. All its memory is one aligned arena, allocated and touched when it is created.
//
// Of a Plan with threads a Stream has workers, which help with the steps (stream/workers); they live as long as it does.
// Every member but the constructors is noexcept, allocates nothing, takes no lock, makes no system call, and may be called from a
// real-time thread. One Stream belongs to one thread at a time; Streams of one Plan are independent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "plan/plan.hpp"
#include "stream/workers.hpp"

namespace rtrnn {

enum class OnNonFinite { error, hold, propagate };

enum class Status {
    ok,
    held,               // hold: the input or the new state was not finite; outputs and state are those of the last good step
    nonfinite_input,    // error: an input is NaN or infinite; outputs and state are as before
    nonfinite_result    // error: an output or a state would become NaN or infinite; outputs and state are as before
};

class RTRNN_EXPORT Stream {
public:
    // Throws Error when the threads that the Plan asks for cannot be had.
    explicit Stream(std::shared_ptr<const Plan> plan, OnNonFinite on_nonfinite = OnNonFinite::error);
    Stream(const Stream& other);   // a fork: same state, same buffers' contents, its own memory and workers
    Stream(Stream&&) noexcept = default;
    Stream& operator=(const Stream&) = delete;
    Stream& operator=(Stream&&) noexcept = default;

    // One timestep on input(i), into output(i). Equals finish, preceded by prepare if that has not run.
    Status step() noexcept;
    // Computes ahead what depends on the state alone, so that the next step has less to do. Changes no result.
    void prepare() noexcept;
    // Back to the initial state; outputs become zero.
    void reset() noexcept;

    // `count` timesteps: inputs[i] holds (count, size of input i) floats, outputs[i] receives (count, size of output i). Bits are those
    // of `count` steps. On a status other than ok and held the Stream is as before the call and `failed_at` tells the timestep.
    Status process(const float* const* inputs, float* const* outputs, std::size_t count, std::size_t* failed_at) noexcept;

    // Remembers outputs and state in memory set aside for it; `rollback` returns to them. process() uses the same memory.
    void checkpoint() noexcept;
    void rollback() noexcept;

    float* input(std::size_t i) noexcept { return arena_.get() + plan_->inputs()[i].offset; }
    const float* output(std::size_t i) const noexcept { return arena_.get() + plan_->outputs()[i].offset; }
    // All states, plan().state_size() floats.
    const float* state() const noexcept { return arena_.get() + plan_->state_offset(); }
    // False, with nothing changed, when a value is not finite and the Stream does not propagate such values.
    bool set_state(const float* state) noexcept;

    const Plan& plan() const noexcept { return *plan_; }
    const std::shared_ptr<const Plan>& shared_plan() const noexcept { return plan_; }
    OnNonFinite on_nonfinite() const noexcept { return on_nonfinite_; }
    std::uint64_t steps() const noexcept { return steps_; }
    // Steps that were refused or held because of a NaN or an infinity.
    std::uint64_t nonfinite_count() const noexcept { return nonfinite_; }
    // Parts of steps whose result came from another thread than the one that stepped.
    std::uint64_t parts_by_workers() const noexcept { return workers_ ? workers_->helped() : 0; }
    std::size_t memory_bytes() const noexcept;

private:
    void run(const std::vector<Call>& calls) noexcept RTRNN_NONBLOCKING;
    Status reject(Status status) noexcept;

    std::shared_ptr<const Plan> plan_;
    AlignedArray<float> arena_;   // the Plan's arena, then the checkpoint: a second committed block
    std::unique_ptr<Workers> workers_;   // null when the calling thread does it all
    OnNonFinite on_nonfinite_;
    bool prepared_ = false;
    std::uint64_t steps_ = 0, nonfinite_ = 0, checkpoint_steps_ = 0;
};

}  // namespace rtrnn
