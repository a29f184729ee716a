// The nodes of a Graph that a Plan will run, after dead nodes are dropped and neighbours are fused.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "graph/graph.hpp"
#include "kernels/kernels.hpp"

namespace rtrnn {

struct Op;

struct PlanNode {
    const Op* op;
    const Node* source;                     // attributes; the first node when several were fused
    std::vector<std::string> inputs;
    std::vector<std::string> outputs;
    std::optional<Activation> activation;   // applied to a linear's or conv's result before it is stored
    bool state_only = false;                // depends on states and tensors alone: part of prepare

    bool has_input(std::size_t i) const { return i < inputs.size() && !inputs[i].empty(); }
    bool is(const char* op_name) const;
};

// Fusions: linear or conv then a unary function; a normaliser (x - mean) / deviation with constant mean and deviation, which becomes
// (x - mean) * (1 / deviation). The normaliser is not folded into the weights behind it: W x - W mean cancels badly when the mean
// is large beside the deviation.
std::vector<PlanNode> make_program(const Graph& graph);

}  // namespace rtrnn
