// Where each value lives: in a buffer of its own, inside another value's buffer (a view), or inside the buffer of a
// concat, a next state or an output that it is a part of, so that reshaping, slicing and joining cost nothing.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "plan/program.hpp"

namespace rtrnn {

enum class Region { input, state, next_state, output, temporary };

struct Buffer {
    std::int64_t size;
    Region region;
    int parent = -1;                  // this buffer is `parent_offset` floats into that one
    std::int64_t parent_offset = 0;
};

struct Place {
    int buffer;
    std::int64_t offset;
};

// A copy that no placement could avoid.
struct Move {
    std::string value;
    Place target;
    std::int64_t size;
};

struct Placement {
    std::vector<Buffer> buffers;
    std::unordered_map<std::string, Place> values;
    std::vector<int> inputs, states, next_states, outputs;      // buffers, in the Graph's order
    std::vector<bool> elided;                                   // per program node: a view, nothing to run
    std::unordered_map<std::size_t, std::vector<Move>> joins;   // per concat node: parts that must be copied in
    std::vector<Move> final_moves;                              // into next states and outputs, after the last node
    std::vector<Place> output_sources;                          // per output: where it is computed, a part of a next state or its own buffer

    int add_buffer(std::int64_t size, Region region);
    // The place in its outermost buffer.
    Place resolve(Place place) const;
};

Placement place_values(const Graph& graph, const std::vector<PlanNode>& program);

}  // namespace rtrnn
