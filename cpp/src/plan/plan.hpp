// Plan: a Graph made runnable on this CPU. Immutable; any number of Streams on any threads share one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "graph/graph.hpp"
#include "kernels/kernels.hpp"
#include "plan/aligned.hpp"
#include "plan/constants.hpp"
#include "plan/fetch.hpp"
#include "plan/lowering.hpp"
#include "plan/options.hpp"
#include "plan/parts.hpp"
#include "plan/segments.hpp"

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
    // Allocates everything a step needs but the arena. Outputs get the limits that options or metadata ask for (limits.hpp), and the
    // fingerprint is that of the Graph with them. Throws Error(unsupported) for a Graph that is not causal, for a precision
    // this release does not have and for weights that do not fit theirs.
    explicit Plan(const Graph& graph, const PlanOptions& options = {});

    const KernelTable& kernels() const { return *kernels_; }
    const std::vector<Slot>& inputs() const { return inputs_; }
    std::size_t input_size() const { return input_size_; }   // floats from the arena's start that hold inputs, padding included
    const std::vector<Slot>& outputs() const { return outputs_; }
    const std::vector<Slot>& states() const { return states_; }
    // The committed block: outputs (each on its own cache lines), then all states without gaps, which is what a state blob
    // holds. A step writes the pending block, of the same layout. What it wrote is then copied; or only the outputs are, and the
    // next step is an odd one, whose calls take the states of the two blocks for each other.
    std::size_t committed_offset() const { return committed_offset_; }
    std::size_t pending_offset() const { return pending_offset_; }
    std::size_t committed_size() const { return committed_size_; }
    std::size_t state_offset() const { return state_offset_; }
    std::size_t state_size() const { return state_size_; }
    const float* initial_state() const { return initial_state_.get(); }
    std::size_t arena_size() const { return arena_size_; }
    std::uint64_t fingerprint() const { return fingerprint_; }
    // Whether a state of one is a state of the other: the same Graph but for its weights, and limits of the same kinds, if any.
    bool same_structure(const Plan& other) const noexcept RTRNN_NONBLOCKING;
    std::uint64_t structure() const { return structure_; }

    // Where among the states timesteps are counted in which a limit acted, for the Stream to take away; no_count where there are no limits.
    static constexpr std::size_t no_count = static_cast<std::size_t>(-1);
    std::size_t limit_count() const { return limit_count_; }

    // Calls that are run in order, each on the calling thread, give a step; the parts of a divided call may also run at the same time.
    // An even or an odd step: its calls, and what is left to do after them when the blocks are taken for each other.
    struct Turn {
        std::vector<Call> step, prepare, finish;
        std::vector<Fetch> fetch;   // after prepare
        CommitArgs commit{};
        std::vector<Transfer> transfers;
    };
    const Turn& turn(bool odd) const { return turns_[odd]; }
    const std::vector<Call>& step_calls(bool odd = false) const { return turns_[odd].step; }
    const std::vector<Call>& prepare_calls(bool odd = false) const { return turns_[odd].prepare; }
    const std::vector<Call>& finish_calls(bool odd = false) const { return turns_[odd].finish; }
    const CommitArgs& commit(bool odd) const { return turns_[odd].commit; }
    // The node that each of step_calls() belongs to, by its first output: the first one, where several were fused. Empty for a copy that is
    // no node's.
    const std::vector<std::string>& step_nodes() const { return step_nodes_; }

    // The calls of an even step for several timesteps.
    const std::vector<Segment>& segments() const { return segments_; }

    const ThreadOptions& threads() const { return threads_; }
    // What each of a Stream's workers needs of memory, in floats; 0 when no call is divided.
    std::size_t worker_size() const { return worker_size_; }

    std::size_t constant_bytes() const { return constants_.bytes(); }
    // The precision of each matrix, by "NODE.ROLE" (options.hpp).
    const std::map<std::string, const NamedPrecision*>& matrices() const { return matrices_; }

private:
    void lay_out(const Graph& graph, const Placement& placement, Lowering& lowering);
    Call planned(const PendingCall& call, CellForm form);
    void make_calls(std::vector<PendingCall>& calls, const std::vector<std::size_t>& offsets, Turn& turn);
    void make_commit(const Placement& placement, const std::vector<std::size_t>& offsets, bool odd);

    const KernelTable* kernels_;
    std::uint64_t fingerprint_ = 0, structure_ = 0;
    std::map<std::string, const NamedPrecision*> matrices_;
    std::vector<Slot> inputs_, outputs_, states_;
    std::size_t committed_offset_ = 0, pending_offset_ = 0, committed_size_ = 0, state_offset_ = 0, state_size_ = 0;
    std::size_t input_size_ = 0, arena_size_ = 0, limit_count_ = no_count;
    AlignedArray<float> initial_state_;
    Turn turns_[2];   // even and odd
    std::vector<std::string> step_nodes_;
    std::vector<Segment> segments_;
    Constants constants_{0};
    std::deque<AlignedArray<std::byte>> args_;
    ThreadOptions threads_;
    std::size_t worker_size_ = 0;
    std::vector<std::unique_ptr<RemotePart>> remote_parts_;
};

// Whether all outputs and next states that a step has computed in this arena are.
inline bool is_finite(const KernelTable& kernels, const CommitArgs& commit, const float* arena) noexcept RTRNN_NONBLOCKING {
    return kernels.all_finite(arena + commit.outputs.offset, static_cast<std::size_t>(commit.outputs.size)) &&
           kernels.all_finite(arena + commit.states.offset, static_cast<std::size_t>(commit.states.size));
}

}  // namespace rtrnn
