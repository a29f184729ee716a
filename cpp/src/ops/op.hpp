// What an op is: its name, its arity, its shape rule and how it becomes kernel calls. One list names all ops.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.hpp"

namespace rtrnn {

class Lowering;
struct PlanNode;

// A node's shape rule reads the input shapes (empty where an optional input is absent) and appends the output shapes.
// Checks throw Error(invalid_graph) naming the node.
class ShapeRule {
public:
    ShapeRule(const Graph& graph_, const Node& node_, const std::vector<Shape>& inputs_) : graph(graph_), node(node_), inputs(inputs_) {}

    const Graph& graph;
    const Node& node;
    const std::vector<Shape>& inputs;
    std::vector<Shape> outputs;

    [[noreturn]] void fail(const std::string& message) const;
    // Input i must have exactly this shape, if it is there at all.
    void expect(std::size_t i, const char* role, const Shape& shape) const;
    void expect_tensor(std::size_t i, const char* role) const;
    // Attribute `key` as an axis of input 0, counted from the front.
    std::size_t axis(const std::string& key) const;
};

struct Op {
    const char* name;
    std::size_t min_inputs, max_inputs, outputs;
    void (*infer)(ShapeRule& rule);
    void (*lower)(Lowering& lowering, const PlanNode& node);
};

RTRNN_EXPORT const Op* find_op(std::string_view name);
RTRNN_EXPORT std::string op_names();   // "abs, add, ..." for messages

}  // namespace rtrnn
