// A Graph that looks at a whole sequence (reverse cells, `last`) as causal Graphs run one after the other.
//
// Each pass is an ordinary causal Graph, stepped over the sequence forwards or backwards; a value that a later pass reads
// becomes an output of one and an input of the other. So offline runs use the same Plans and Streams as streaming, and give the same bits.
#pragma once

#include <string>
#include <vector>

#include "graph/graph.hpp"

namespace rtrnn {

enum class PassKind { forward, reverse, once };   // once: a single step on values at the end of the sequence

struct Pass {
    PassKind kind;
    Graph graph;   // inputs and outputs are named after the values of the whole Graph
};

// Throws Error(unsupported) when a state would depend on its own future, or a per-timestep value on an end-of-sequence value.
std::vector<Pass> split_into_passes(const Graph& graph);

}  // namespace rtrnn
