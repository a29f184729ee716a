#include "plan/program.hpp"

#include <cmath>
#include <set>
#include <unordered_map>

#include "ops/elementwise/unary.hpp"
#include "ops/op.hpp"
#include "plan/fused_ops.hpp"

namespace rtrnn {
namespace {

// How often each value is read, counting outputs and next states.
std::unordered_map<std::string, int> count_uses(const Graph& graph, const std::vector<PlanNode>& program) {
    std::unordered_map<std::string, int> uses;
    for (const PlanNode& node : program)
        for (const std::string& value : node.inputs) ++uses[value];
    for (const Output& output : graph.outputs()) ++uses[output.value];
    for (const State& state : graph.states()) ++uses[state.next];
    return uses;
}

// A state is live when an output depends on it, at this step or a later one.
std::vector<PlanNode> live_nodes(const Graph& graph) {
    std::set<std::string> live;
    std::vector<std::string> pending;
    for (const Output& output : graph.outputs()) pending.push_back(output.value);
    for (const State& state : graph.states()) pending.push_back(state.next);   // a state is visible: all are kept
    while (!pending.empty()) {
        const std::string value = pending.back();
        pending.pop_back();
        if (value.empty() || !live.insert(value).second) continue;
        const Value& info = graph.value(value);
        if (info.kind == ValueKind::node)
            for (const std::string& input : graph.nodes()[info.index].inputs) pending.push_back(input);
    }
    std::vector<PlanNode> program;
    for (const Node& node : graph.nodes()) {
        bool used = false;
        for (const std::string& value : node.outputs) used = used || live.count(value) != 0;
        if (used) program.push_back({find_op(node.op), &node, node.inputs, node.outputs, std::nullopt});
    }
    return program;
}

void erase_marked(std::vector<PlanNode>& program, const std::vector<bool>& gone) {
    std::vector<PlanNode> kept;
    for (std::size_t i = 0; i < program.size(); ++i)
        if (!gone[i]) kept.push_back(std::move(program[i]));
    program = std::move(kept);
}

std::unordered_map<std::string, std::size_t> producers(const std::vector<PlanNode>& program) {
    std::unordered_map<std::string, std::size_t> out;
    for (std::size_t i = 0; i < program.size(); ++i)
        for (const std::string& value : program[i].outputs) out[value] = i;
    return out;
}

// linear or conv followed by a unary function that is its only reader: the function runs on the sums.
void fuse_product_activation(const Graph& graph, std::vector<PlanNode>& program) {
    const auto uses = count_uses(graph, program);
    const auto made_by = producers(program);
    std::vector<bool> gone(program.size(), false);
    for (std::size_t i = 0; i < program.size(); ++i) {
        PlanNode& node = program[i];
        if (!find_unary(node.op->name)) continue;
        const auto found = made_by.find(node.inputs[0]);
        if (found == made_by.end() || uses.at(node.inputs[0]) != 1) continue;
        PlanNode& product = program[found->second];
        if ((!product.is("linear") && !product.is("conv")) || product.activation) continue;
        product.activation = activation_of(*node.source);
        product.outputs = node.outputs;
        gone[i] = true;
    }
    erase_marked(program, gone);
}

// (x - mean) / deviation, both constant vectors of the length of x.
void fuse_normaliser(const Graph& graph, std::vector<PlanNode>& program) {
    const auto uses = count_uses(graph, program);
    const auto made_by = producers(program);
    std::vector<bool> gone(program.size(), false);
    for (PlanNode& node : program) {
        if (!node.is("div") && !node.is("mul")) continue;
        const auto found = made_by.find(node.inputs[0]);
        if (found == made_by.end() || gone[found->second] || uses.at(node.inputs[0]) != 1) continue;
        const PlanNode& sub = program[found->second];
        if (!sub.is("sub")) continue;
        const Shape& x = graph.shape(sub.inputs[0]);
        const Tensor* mean = graph.find_tensor(sub.inputs[1]);
        const Tensor* deviation = graph.find_tensor(node.inputs[1]);
        if (!mean || !deviation || mean->shape != x || deviation->shape != x || x.size() != 1) continue;
        gone[found->second] = true;
        node.op = node.is("div") ? &normalize_by_division : &normalize_by_product;
        node.inputs = {sub.inputs[0], mean->name, deviation->name};
    }
    erase_marked(program, gone);
}

}  // namespace

bool PlanNode::is(const char* op_name) const { return std::string_view(op->name) == op_name; }

std::vector<PlanNode> make_program(const Graph& graph) {
    std::vector<PlanNode> program = live_nodes(graph);
    fuse_product_activation(graph, program);
    fuse_normaliser(graph, program);

    std::set<std::string> known;   // before the input is
    for (const State& state : graph.states()) known.insert(state.name);
    for (const Tensor& tensor : graph.tensors()) known.insert(tensor.name);
    for (PlanNode& node : program) {
        node.state_only = true;
        for (const std::string& value : node.inputs) node.state_only = node.state_only && (value.empty() || known.count(value));
        if (node.state_only) known.insert(node.outputs.begin(), node.outputs.end());
    }
    return program;
}

}  // namespace rtrnn
