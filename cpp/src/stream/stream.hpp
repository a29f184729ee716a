// Stream: one sequence in progress. All its memory is one aligned arena, allocated and touched when it is created.
//
// Of a Plan with threads a Stream has workers, which help with the steps (stream/workers); they live as long as it does.
// Every member but the constructors and reserve is noexcept, allocates nothing, takes no lock, makes no system call, and may be called from a
// real-time thread. One Stream belongs to one thread at a time, but for its counters, which any thread may read; Streams of one Plan are
// independent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "plan/plan.hpp"
#include "rtrnn/realtime.h"
#include "stream/block.hpp"
#include "stream/counter.hpp"
#include "stream/workers.hpp"

namespace rtrnn {

enum class OnNonFinite { error, hold, propagate };

enum class Status {
    ok,
    held,               // hold: the input or the new state was not finite; outputs and state are those of the last good step
    nonfinite_input,    // error, or held too often in a row: an input is NaN or infinite; outputs and state are as before
    nonfinite_result    // likewise: an output or a state would become NaN or infinite; outputs and state are as before
};

enum class Restored { ok, damaged, mismatch, nonfinite };   // all but ok: nothing was changed

class RTRNN_EXPORT Stream {
public:
    // Throws Error when the threads that the Plan asks for cannot be had.
    explicit Stream(std::shared_ptr<const Plan> plan, OnNonFinite on_nonfinite = OnNonFinite::error);
    Stream(const Stream& other);   // a fork: same state, same buffers' contents, same counters, its own memory and workers
    Stream(Stream&&) noexcept = default;
    Stream& operator=(const Stream&) = delete;
    Stream& operator=(Stream&&) noexcept = default;

    // One timestep on input(i), into output(i). Equals finish, preceded by prepare if that has not run.
    Status step() noexcept RTRNN_NONBLOCKING;
    // The same for a network of one input and one output: reads x, writes y unless that is null. y is written when the
    // status is ok or held.
    Status step(const float* x, float* y) noexcept RTRNN_NONBLOCKING;
    // Computes ahead what depends on the state alone, so that the next step has less to do. Changes no result.
    void prepare() noexcept RTRNN_NONBLOCKING;
    // Brings what the next step will use into the caches, code as well as weights: takes a step on whatever the inputs hold, throws its
    // result away and prepares anew. Changes no result. For a loop that waits for an observation.
    void warm() noexcept RTRNN_NONBLOCKING;
    // Back to the initial state; outputs become zero, and no step counts as held any more.
    void reset() noexcept RTRNN_NONBLOCKING;

    // `count` timesteps: inputs[i] holds (count, size of input i) floats, outputs[i] receives (count, size of output i). Bits are those
    // of `count` steps. On a status other than ok and held the Stream is as before the call and `failed_at` tells the timestep.
    // `backwards` takes them from the last to the first. Much faster once `reserve` has been called.
    Status process(const float* const* inputs, float* const* outputs, std::size_t count, std::size_t* failed_at, bool backwards = false) noexcept
        RTRNN_NONBLOCKING;
    // Allocates, and may throw: sets memory aside in which process() takes several timesteps together, if that is faster.
    void reserve();

    // Remembers outputs and state in memory set aside for it; `rollback` returns to them. process() uses the same memory.
    void checkpoint() noexcept RTRNN_NONBLOCKING;
    void rollback() noexcept RTRNN_NONBLOCKING;

    float* input(std::size_t i) noexcept RTRNN_NONBLOCKING { return arena_.get() + plan_->inputs()[i].offset; }
    const float* output(std::size_t i) const noexcept RTRNN_NONBLOCKING { return arena_.get() + plan_->outputs()[i].offset; }
    // All states, plan().state_size() floats; valid until the next call that changes them.
    const float* state() const noexcept RTRNN_NONBLOCKING { return states(); }
    // False, with nothing changed, when a value is not finite and the Stream does not propagate such values.
    bool set_state(const float* state) noexcept RTRNN_NONBLOCKING;

    // Outputs, state and what else the next steps depend on, as bytes that know their network (saved_state.cpp): `restore` continues from there
    // bit for bit, also with other precisions or another instruction set. `data` needs no alignment. A state of other weights is a
    // mismatch unless `any_weights`; then the same structure is enough (Plan::same_structure). restore() uses the checkpoint's memory.
    std::size_t saved_bytes() const noexcept RTRNN_NONBLOCKING;
    void save(void* data) const noexcept RTRNN_NONBLOCKING;
    Restored restore(const void* data, std::size_t bytes, bool any_weights = false) noexcept RTRNN_NONBLOCKING;

    // Goes on with the Plan of `other`, which was made beforehand, and takes inputs, outputs and state along; policy and counters stay. `other`
    // gets the former Plan and memory, to be freed where that may take time, or to swap back. Addresses of inputs, outputs and state
    // are others afterwards. False, with nothing changed, unless the Plans have the same structure.
    bool swap(Stream& other) noexcept RTRNN_NONBLOCKING;

    const Plan& plan() const noexcept RTRNN_NONBLOCKING { return *plan_; }
    const std::shared_ptr<const Plan>& shared_plan() const noexcept RTRNN_NONBLOCKING { return plan_; }
    OnNonFinite on_nonfinite() const noexcept RTRNN_NONBLOCKING { return on_nonfinite_; }
    // After so many held steps in a row the next is an error; 0: never.
    std::uint64_t hold_steps() const noexcept RTRNN_NONBLOCKING { return hold_steps_; }
    void set_hold_steps(std::uint64_t steps) noexcept RTRNN_NONBLOCKING { hold_steps_ = steps; }
    const Counters& counters() const noexcept RTRNN_NONBLOCKING { return counters_; }   // for any thread
    std::uint64_t steps() const noexcept RTRNN_NONBLOCKING { return counters_.steps.get(); }
    std::uint64_t nonfinite_count() const noexcept RTRNN_NONBLOCKING { return counters_.nonfinite.get(); }
    // Parts of steps whose result came from another thread than the one that stepped.
    std::uint64_t parts_by_workers() const noexcept RTRNN_NONBLOCKING { return workers_ ? workers_->helped() : 0; }
    std::size_t memory_bytes() const noexcept RTRNN_NONBLOCKING;

private:
    friend class Batch;
    // In `memory` of total_floats, which somebody else owns.
    Stream(std::shared_ptr<const Plan> plan, OnNonFinite on_nonfinite, float* memory);
    static std::size_t total_floats(const Plan& plan);
    // A step on row t of a sequence.
    Status step_row(const float* const* inputs, float* const* outputs, std::size_t t) noexcept RTRNN_NONBLOCKING;
    void run(const std::vector<Call>& calls) noexcept RTRNN_NONBLOCKING;
    Status reject(Status status) noexcept RTRNN_NONBLOCKING;
    // Counts timesteps whose outputs and states are committed.
    void accept(std::uint64_t timesteps) noexcept RTRNN_NONBLOCKING {
        counters_.steps.add(timesteps);
        counters_.held_in_a_row.set(0);
        if (plan_->limit_count() != Plan::no_count) count_limited(timesteps);
    }
    void count_limited(std::uint64_t timesteps) noexcept RTRNN_NONBLOCKING;
    // What becomes of a timestep that is not finite; y as for step.
    Status refuse(Status why, float* y) noexcept RTRNN_NONBLOCKING;
    Status advance(float* y) noexcept RTRNN_NONBLOCKING;
    // The states as they are: steps take turns between two places.
    float* states() const noexcept RTRNN_NONBLOCKING { return arena_.get() + plan_->state_offset() + (odd_ ? plan_->committed_size() : 0); }

    std::shared_ptr<const Plan> plan_;
    Arena arena_;   // the Plan's arena, then the checkpoint: a second committed block
    std::unique_ptr<Block> block_;
    std::unique_ptr<Workers> workers_;   // null when the calling thread does it all
    OnNonFinite on_nonfinite_;
    bool prepared_ = false;
    bool odd_ = false;            // the next step is an odd one
    std::uint64_t hold_steps_ = 0;
    Counters counters_, checkpoint_counters_;
};

}  // namespace rtrnn
