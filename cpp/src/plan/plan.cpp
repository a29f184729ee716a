#include "plan/plan.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <unordered_set>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

#include "kernels/dispatch.hpp"
#include "plan/arena.hpp"
#include "plan/delta.hpp"
#include "plan/limits.hpp"

namespace rtrnn {
namespace {

constexpr std::size_t vector_floats = cache_line / sizeof(float);

std::size_t padded(std::size_t floats) { return (floats + vector_floats - 1) / vector_floats * vector_floats; }

std::size_t first_level_cache_bytes() {
#if defined(_SC_LEVEL1_DCACHE_SIZE)
    if (const long bytes = sysconf(_SC_LEVEL1_DCACHE_SIZE); bytes > 0) return static_cast<std::size_t>(bytes);
#endif
    return 32 * 1024;
}

void refuse_what_cannot_stream(const Graph& graph) {
    for (const Node& node : graph.nodes())
        if (node.text("direction", "forward") == "reverse")
            throw Error(ErrorKind::unsupported, "node '" + node.name + "' (" + node.op +
                                                    ") runs over the sequence backwards (a bidirectional or reverse layer): it needs the last "
                                                    "timestep before it can give the first, so it cannot be streamed; use Model.run on whole sequences");
}

}  // namespace

Plan::Plan(const Graph& unlimited, const PlanOptions& options) : kernels_(&select_kernels(options.isa)), threads_(options.threads) {
    check_threads(threads_);
    PrecisionChoice precisions(options);
    unlimited.validate();
    refuse_what_cannot_stream(unlimited);
    const Graph limited = with_limits(unlimited, options);
    const Graph graph = options.delta >= 0 ? with_delta_updates(limited, options.delta) : limited;
    fingerprint_ = graph.fingerprint();
    structure_ = graph.structure();

    const std::vector<PlanNode> program = make_program(graph);
    Placement placement = place_values(graph, program);
    Lowering lowering(graph, *kernels_, placement, precisions);
    // A next state or output that nothing writes in place is copied as soon as it is there: what reads the state may then come later.
    std::vector<bool> moved(placement.final_moves.size(), false);
    const auto move_finished = [&](const auto& is_finished) {
        lowering.phase = Phase::finish;
        for (std::size_t i = 0; i < moved.size(); ++i) {
            const Move& move = placement.final_moves[i];
            if (moved[i] || !is_finished(move.value)) continue;
            moved[i] = true;
            PlanNode reader{};
            reader.inputs = {move.value};
            lowering.copy(lowering.in(reader, 0), lowering.at(move.target), move.size);
        }
    };
    std::unordered_set<std::string> computed;
    for (const PlanNode& node : program) computed.insert(node.outputs.begin(), node.outputs.end());
    move_finished([&](const std::string& value) { return computed.count(value) == 0; });
    for (std::size_t i = 0; i < program.size(); ++i) {
        lowering.lower(program[i], i);
        move_finished([&](const std::string& value) {
            return std::find(program[i].outputs.begin(), program[i].outputs.end(), value) != program[i].outputs.end();
        });
    }
    precisions.check_all_used();
    matrices_ = precisions.chosen();
    split_large_calls(lowering, threads_);
    lay_out(graph, placement, lowering);
    if (graph.has_value(limit_count_name) && !unlimited.has_value(limit_count_name))
        for (const Slot& state : states_)
            if (state.name == limit_count_name) limit_count_ = state.offset - state_offset_;

    constants_ = std::move(lowering.constants);
    args_ = std::move(lowering.args);
}

// The hash alone is no proof: memory must be safe with files that were made to deceive it.
bool Plan::same_structure(const Plan& other) const noexcept {
    const auto same = [](const std::vector<Slot>& a, const std::vector<Slot>& b) noexcept RTRNN_NONBLOCKING {
        if (a.size() != b.size()) return false;
        for (std::size_t i = 0; i < a.size(); ++i)
            if (a[i].size != b[i].size || a[i].offset != b[i].offset) return false;
        return true;
    };
    return structure_ == other.structure_ && same(inputs_, other.inputs_) && same(outputs_, other.outputs_) && same(states_, other.states_);
}

void Plan::lay_out(const Graph& graph, const Placement& placement, Lowering& lowering) {
    // In the arena: inputs, committed block, pending block, temporaries.
    std::vector<std::size_t> offsets(placement.buffers.size(), 0);
    std::size_t at = 0;
    const auto add_slot = [&](std::vector<Slot>& slots, const std::string& name, const Shape& shape) {
        const auto size = static_cast<std::size_t>(element_count(shape));
        slots.push_back({name, shape, at, size});
        return size;
    };
    for (std::size_t i = 0; i < placement.inputs.size(); ++i) {
        offsets[static_cast<std::size_t>(placement.inputs[i])] = at;
        at += padded(add_slot(inputs_, graph.inputs()[i].name, graph.inputs()[i].shape));
    }
    input_size_ = committed_offset_ = at;
    for (std::size_t i = 0; i < placement.outputs.size(); ++i) at += padded(add_slot(outputs_, graph.outputs()[i].name, graph.output_shape(i)));
    state_offset_ = at;
    for (const State& state : graph.states()) at += add_slot(states_, state.name, state.shape);
    state_size_ = at - state_offset_;
    at = padded(at);
    pending_offset_ = at;
    committed_size_ = pending_offset_ - committed_offset_;
    for (std::size_t i = 0; i < outputs_.size(); ++i) offsets[static_cast<std::size_t>(placement.outputs[i])] = outputs_[i].offset + committed_size_;
    for (std::size_t i = 0; i < states_.size(); ++i) {
        offsets[static_cast<std::size_t>(placement.states[i])] = states_[i].offset;
        offsets[static_cast<std::size_t>(placement.next_states[i])] = states_[i].offset + committed_size_;
    }
    at = pending_offset_ + committed_size_;

    initial_state_ = aligned_array<float>(state_size_);
    for (std::size_t i = 0; i < states_.size(); ++i)
        if (const Tensor* initial = graph.find_tensor(graph.states()[i].initial))
            std::memcpy(initial_state_.get() + (states_[i].offset - state_offset_), initial->data.get(), states_[i].size * sizeof(float));

    std::vector<const PendingCall*> in_order;
    for (const bool ahead : {true, false})
        for (const PendingCall& call : lowering.calls)
            if ((call.phase == Phase::prepare) == ahead) in_order.push_back(&call);
    for (const PendingCall* call : in_order) step_nodes_.push_back(call->node);
    segments_ = find_segments(in_order, placement);

    arena_size_ = at + assign_temporaries(lowering.calls, placement, at, offsets);
    std::vector<std::size_t> odd_offsets = offsets;
    for (std::size_t i = 0; i < states_.size(); ++i)
        std::swap(odd_offsets[static_cast<std::size_t>(placement.states[i])], odd_offsets[static_cast<std::size_t>(placement.next_states[i])]);
    std::vector<PendingCall> odd_calls = lowering.calls;
    // Weights that a cache level does not hold are evicted by the time they are read again. Walking them forwards on one step and
    // backwards on the next leaves some to be hit.
    const bool turns_back = lowering.constants.bytes() > first_level_cache_bytes();
    for (PendingCall& call : odd_calls) {
        call.args = lowering.copy_of(call);
        if (call.cell) static_cast<CellArgs*>(call.args)->backward = turns_back;
    }
    make_calls(lowering.calls, offsets, turns_[0]);
    make_calls(odd_calls, odd_offsets, turns_[1]);
    turns_[0].fetch = read_first(lowering.calls, *kernels_, lowering.constants, first_level_cache_bytes());
    turns_[1].fetch = read_first(odd_calls, *kernels_, lowering.constants, first_level_cache_bytes());
    make_commit(placement, offsets, false);
    make_commit(placement, odd_offsets, true);
}

void Plan::make_calls(std::vector<PendingCall>& calls, const std::vector<std::size_t>& offsets, Turn& turn) {
    for (PendingCall& call : calls) {
        resolve_refs(call, offsets);
        if (call.phase == Phase::prepare) turn.prepare.push_back(planned(call, CellForm::whole));
    }
    turn.step = turn.prepare;
    for (const PendingCall& call : calls) {
        if (call.phase == Phase::prepare) continue;
        turn.step.push_back(planned(call, CellForm::whole));
        turn.finish.push_back(call.phase == Phase::split ? planned(call, CellForm::finish) : turn.step.back());
        if (call.phase == Phase::split) turn.prepare.push_back(planned(call, CellForm::prepare));
    }
}

Call Plan::planned(const PendingCall& call, CellForm form) {
    Call out{call.kernel, call.args, call.many, call.parts, nullptr};
    if (form == CellForm::prepare) {
        out.kernel = call.prepare;
        out.many = call.cell->many.prepare;
    } else if (form == CellForm::finish) {
        out.kernel = call.finish;
        out.many = call.cell->many.finish;
    }
    if (call.beside_previous) {
        remote_parts_.push_back(make_remote_part(*kernels_, call, form));
        out.remote = remote_parts_.back().get();
        worker_size_ = std::max(worker_size_, out.remote->own_size);
    }
    return out;
}

void Plan::make_commit(const Placement& placement, const std::vector<std::size_t>& offsets, bool odd) {
    Turn& turn = turns_[odd];
    const auto floats = [](std::size_t n) { return static_cast<std::ptrdiff_t>(n); };
    const std::ptrdiff_t output_block = floats(state_offset_ - committed_offset_), state_block = floats(committed_size_) - output_block;
    bool any_of_its_own = false;
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
        const Place& source = placement.output_sources[i];
        turn.transfers.push_back({floats(offsets[static_cast<std::size_t>(source.buffer)]) + source.offset, floats(outputs_[i].offset), floats((outputs_[i].size + 7) / 8 * 8)});
        any_of_its_own = any_of_its_own || source.buffer == placement.outputs[i];
    }
    turn.commit.outputs = {floats(pending_offset_), any_of_its_own ? output_block : 0};
    turn.commit.states = {floats(odd ? state_offset_ : state_offset_ + committed_size_), state_block};
    turn.commit.transfers = turn.transfers.data();
    turn.commit.transfer_count = floats(turn.transfers.size());
    turn.commit.first_output = outputs_.empty() ? 0 : floats(outputs_[0].size);
}

}  // namespace rtrnn
