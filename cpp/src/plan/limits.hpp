// Limits of a network's outputs: between bounds, and no faster than a rate. Ordinary nodes behind the outputs, so that every way of
// stepping applies them; what they remember are states, so that it is saved, restored and forked with the others.
#pragma once

#include <string>

#include "graph/graph.hpp"
#include "plan/options.hpp"

namespace rtrnn {

constexpr const char* limits_key = "rtrnn.limits";   // in a Graph's metadata
constexpr const char* limit_count_name = "limits.count";   // the state in which timesteps are counted, until the Stream takes them from there

// The Graph with the limits that PlanOptions::limits or, without it, the Graph's metadata ask for: JSON, an object of the outputs to limit,
// each an object of
//   "min", "max"     bounds of the output
//   "max_change"     largest change from one timestep to the next, positive; applied after the bounds
//   "initial"        what the first timestep's change is counted from; without it that timestep may be anywhere within the bounds
// each a number, or a list of a number (or null: no limit) per element. Limits change outputs alone: the network's own states, and
// what it feeds back to itself, are what they are without. A raw value that is not finite makes the limited one NaN.
// Throws Error that names the output and the entry: invalid_argument for options, invalid_graph for metadata.
RTRNN_EXPORT Graph with_limits(const Graph& graph, const PlanOptions& options);

}  // namespace rtrnn
