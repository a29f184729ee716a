// Offline runs over whole sequences, for causal Graphs and for those with reverse or bidirectional layers.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "graph/graph.hpp"
#include "plan/passes.hpp"
#include "plan/plan.hpp"
#include "stream/stream.hpp"

namespace rtrnn {

class RTRNN_EXPORT Sequence {
public:
    Sequence(const Graph& graph, const PlanOptions& options, OnNonFinite on_nonfinite = OnNonFinite::error);

    // False for an output that exists once per sequence (it is behind a `last` node in a Graph that is not causal).
    bool is_per_timestep(std::size_t output) const { return per_timestep_[output]; }

    // One sequence of `count` >= 1 timesteps from fresh states: inputs[i] holds (count, size of input i); outputs[i] receives
    // (count, size of output i), or (size of output i) once. Allocates, and locks to take and give back the memory of earlier runs; safe to call from
    // several threads. On a status other
    // than ok and held, `failed_at` tells the timestep.
    Status run(const std::vector<const float*>& inputs, const std::vector<float*>& outputs, std::size_t count, std::size_t* failed_at) const;

private:
    struct PlannedPass {
        PassKind kind;
        std::shared_ptr<const Plan> plan;
        std::vector<std::size_t> inputs, outputs;   // into the values of a run
    };

    std::vector<Stream> take_streams() const;
    Status run(std::vector<Stream>& streams, const std::vector<const float*>& inputs, const std::vector<float*>& outputs, std::size_t count, std::size_t* failed_at) const;

    std::vector<PlannedPass> passes_;
    std::unique_ptr<std::mutex> mutex_ = std::make_unique<std::mutex>();
    mutable std::vector<std::vector<Stream>> idle_;
    OnNonFinite on_nonfinite_;
    bool is_whole_;   // the only pass is the Graph itself, whose outputs have names of their own
    std::vector<std::size_t> value_sizes_;
    std::vector<bool> value_once_;
    std::vector<std::size_t> input_values_, output_values_;
    std::vector<bool> per_timestep_;
    std::vector<std::vector<float>> constant_outputs_;   // of outputs that are plain tensors; else empty
};

}  // namespace rtrnn
