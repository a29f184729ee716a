#include "plan/passes.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace rtrnn {
namespace {

constexpr int once_level = 1 << 20;   // after every pass over the sequence

bool is_reverse(const Node& node) { return node.text("direction", "forward") == "reverse"; }

// Passes have levels: even ones run forwards, odd ones backwards. A node's level is the least one of its direction at which all its
// operands are there; a state is there where its next value is computed.
class Levels {
public:
    explicit Levels(const Graph& graph) : graph_(graph) {
        for (const State& state : graph.states()) level_[state.name] = 0;
        for (const Input& input : graph.inputs()) level_[input.name] = 0;
        // Levels only grow; without a contradiction they settle within as many rounds as there are nodes.
        for (std::size_t round = 0; round <= graph.nodes().size() + 1; ++round)
            if (!raise()) return;
        throw Error(ErrorKind::unsupported, "a state depends on later timesteps of its own sequence: neither a stream nor an offline run can compute it");
    }

    int of(const std::string& value) const {
        const auto found = level_.find(value);
        return found == level_.end() ? -1 : found->second;   // -1: a tensor, there from the start
    }

private:
    bool raise() {
        bool changed = false;
        for (const Node& node : graph_.nodes()) {
            int level = 0;
            for (const std::string& input : node.inputs) level = std::max(level, input.empty() ? -1 : of(input));
            if (node.op == "last") level = once_level;
            if (level >= once_level) level = once_level;
            else if ((level % 2 != 0) != is_reverse(node)) ++level;
            for (const std::string& value : node.outputs) changed = set(value, level) || changed;
        }
        for (const State& state : graph_.states()) changed = set(state.name, std::max(0, of(state.next))) || changed;   // 0: a tensor is next
        return changed;
    }

    bool set(const std::string& value, int level) {
        const auto found = level_.find(value);
        if (found != level_.end() && found->second >= level) return false;
        level_[value] = level;
        return true;
    }

    const Graph& graph_;
    std::map<std::string, int> level_;
};

}  // namespace

std::vector<Pass> split_into_passes(const Graph& graph) {
    graph.validate();
    std::vector<Pass> passes;
    if (graph.is_causal()) {
        passes.push_back({PassKind::forward, graph});
        return passes;
    }
    const Levels levels(graph);
    std::set<int> used;
    for (const Node& node : graph.nodes()) used.insert(levels.of(node.outputs[0]));
    for (const State& state : graph.states())
        if (levels.of(state.name) >= once_level)
            throw Error(ErrorKind::unsupported, "state '" + state.name + "' depends on the end of its own sequence");
    for (const Output& output : graph.outputs()) used.insert(std::max(0, levels.of(output.value)));

    // Values that cross from one pass to another, or out.
    std::map<int, std::set<std::string>> wanted;
    for (const Node& node : graph.nodes())
        for (const std::string& input : node.inputs)
            if (!input.empty() && levels.of(input) >= 0 && levels.of(input) != levels.of(node.outputs[0])) wanted[levels.of(input)].insert(input);
    for (const Output& output : graph.outputs())
        if (levels.of(output.value) >= 0) wanted[levels.of(output.value)].insert(output.value);

    for (const int level : used) {
        Pass pass{level >= once_level ? PassKind::once : level % 2 ? PassKind::reverse : PassKind::forward, Graph()};
        Graph& part = pass.graph;
        const auto need = [&](const std::string& value) {
            if (value.empty() || part.has_value(value)) return;
            if (const Tensor* tensor = graph.find_tensor(value)) part.add_tensor(value, tensor->shape, tensor->data);
            else part.add_input(value, graph.shape(value));
        };
        for (const Input& input : graph.inputs())
            if (level == 0) part.add_input(input.name, input.shape);
        for (const State& state : graph.states()) {
            if (levels.of(state.name) != level) continue;
            need(state.initial);
            part.add_state(state.name, state.shape, state.initial);
        }
        for (const Node& node : graph.nodes()) {
            if (levels.of(node.outputs[0]) != level) continue;
            for (const std::string& input : node.inputs) need(input);
            Node copy = node;
            copy.attributes.erase("direction");   // the pass has one
            part.add_node(std::move(copy));
        }
        for (const State& state : graph.states())
            if (levels.of(state.name) == level) {
                need(state.next);
                part.set_next(state.name, state.next);
            }
        for (const std::string& value : wanted[level])
            if (graph.value(value).kind != ValueKind::input || level == 0) part.add_output(value, value);
        if (!part.outputs().empty()) passes.push_back(std::move(pass));
    }
    return passes;
}

}  // namespace rtrnn
