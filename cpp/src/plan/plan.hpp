// Plan: a Graph made runnable on this CPU. Immutable; any number of Streams on any threads share one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "graph/graph.hpp"
#include "kernels/kernels.hpp"
#include "plan/aligned.hpp"
#include "plan/lowering.hpp"
#include "plan/options.hpp"
#include "plan/parts.hpp"

namespace rtrnn {

// A named vector in the arena: `offset` floats in, `size` floats.
struct Slot {
    std::string name;
    Shape shape;
    std::size_t offset;
    std::size_t size;
};

class RTRNN_EXPORT Plan {
public:
    // Allocates everything a step needs but the arena. Throws Error(unsupported) for a Graph that is not causal, for a precision
    // this release does not have and for weights that do not fit theirs.
    explicit Plan(const Graph& graph, const PlanOptions& options = {});

    const KernelTable& kernels() const { return *kernels_; }
    const std::vector<Slot>& inputs() const { return inputs_; }
    std::size_t input_size() const { return input_size_; }   // floats from the arena's start that hold inputs, padding included
    const std::vector<Slot>& outputs() const { return outputs_; }
    const std::vector<Slot>& states() const { return states_; }
    // The committed block: outputs (each on its own cache lines), then all states without gaps, which is what a state blob
    // holds. A step writes the pending block, of the same layout, and commits it by one copy.
    std::size_t committed_offset() const { return committed_offset_; }
    std::size_t pending_offset() const { return pending_offset_; }
    std::size_t committed_size() const { return committed_size_; }
    std::size_t state_offset() const { return state_offset_; }
    std::size_t state_size() const { return state_size_; }
    const float* initial_state() const { return initial_state_.get(); }
    std::size_t arena_size() const { return arena_size_; }
    std::uint64_t fingerprint() const { return fingerprint_; }

    // Run in order, each on the calling thread, they give a step; the parts of a divided call may also run at the same time.
    const std::vector<Call>& step_calls() const { return step_; }
    const std::vector<Call>& prepare_calls() const { return prepare_; }
    const std::vector<Call>& finish_calls() const { return finish_; }

    const ThreadOptions& threads() const { return threads_; }
    // What each of a Stream's workers needs of memory, in floats; 0 when no call is divided.
    std::size_t worker_size() const { return worker_size_; }

    std::size_t constant_bytes() const { return constant_bytes_; }

private:
    void lay_out(const Graph& graph, const Placement& placement, Lowering& lowering);
    Call planned(const PendingCall& call, CellForm form);

    const KernelTable* kernels_;
    std::uint64_t fingerprint_;
    std::vector<Slot> inputs_, outputs_, states_;
    std::size_t committed_offset_ = 0, pending_offset_ = 0, committed_size_ = 0, state_offset_ = 0, state_size_ = 0;
    std::size_t input_size_ = 0, arena_size_ = 0, constant_bytes_ = 0;
    AlignedArray<float> initial_state_;
    std::vector<Call> step_, prepare_, finish_;
    std::deque<AlignedArray<float>> float_constants_;
    std::deque<AlignedArray<std::int32_t>> index_constants_;
    std::deque<AlignedArray<std::byte>> byte_constants_;
    std::deque<AlignedArray<std::byte>> args_;
    ThreadOptions threads_;
    std::size_t worker_size_ = 0;
    std::vector<std::unique_ptr<RemotePart>> remote_parts_;
};

}  // namespace rtrnn
