// Small networks for the tests, with reproducible weights.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graph/graph.hpp"

namespace rtrnn::testing {

// Uniform in [-1, 1), the same numbers on every machine.
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed * 2654435761u + 1) {}
    float next() {
        state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
        return static_cast<float>(static_cast<std::int32_t>(state_ >> 32)) / 2147483648.0f;
    }
    std::vector<float> vector(std::size_t n, float scale = 1) {
        std::vector<float> out(n);
        for (float& v : out) v = next() * scale;
        return out;
    }

private:
    std::uint64_t state_;
};

inline void add_random_tensor(Graph& graph, Random& random, const std::string& name, const Shape& shape, float scale = 0.5f) {
    graph.add_tensor(name, shape, random.vector(static_cast<std::size_t>(element_count(shape)), scale).data());
}

// A recurrent layer called `name` over value x; its states are NAME.h (and NAME.c); returns the value of its output.
inline std::string add_cell(Graph& graph, Random& random, const std::string& op, const std::string& name, const std::string& x,
                            std::int64_t hidden, Attributes attributes = {}) {
    const std::int64_t gates = op == "lstm" ? 4 : op == "gru" ? 3 : 1;
    const std::int64_t input = graph.shape(x)[0];
    const float scale = 1.0f / (1.0f + 0.3f * static_cast<float>(hidden));
    add_random_tensor(graph, random, name + ".weight_ih", {gates * hidden, input});
    add_random_tensor(graph, random, name + ".weight_hh", {gates * hidden, hidden}, 4 * scale);
    add_random_tensor(graph, random, name + ".bias_ih", {gates * hidden});
    add_random_tensor(graph, random, name + ".bias_hh", {gates * hidden});
    graph.add_state(name + ".h", {hidden});
    Node node{op, name, {x, name + ".h"}, {name + ".h_next"}, std::move(attributes)};
    if (op == "lstm") {
        graph.add_state(name + ".c", {hidden});
        node.inputs.push_back(name + ".c");
        node.outputs.push_back(name + ".c_next");
    }
    for (const char* role : {".weight_ih", ".weight_hh", ".bias_ih", ".bias_hh"}) node.inputs.push_back(name + role);
    graph.add_node(node);
    graph.set_next(name + ".h", name + ".h_next");
    if (op == "lstm") graph.set_next(name + ".c", name + ".c_next");
    return name + ".h_next";
}

// normaliser, encoder linear + elu, two recurrent layers, head: every kind of thing a policy has.
inline Graph policy(const std::string& op, std::int64_t input = 11, std::int64_t hidden = 21, std::int64_t output = 5, std::uint64_t seed = 1) {
    Random random(seed);
    Graph graph;
    graph.add_input("x", {input});
    add_random_tensor(graph, random, "mean", {input});
    graph.add_tensor("deviation", {input}, std::vector<float>(static_cast<std::size_t>(input), 1.7f).data());
    graph.add_node({"sub", "centre", {"x", "mean"}, {"centred"}, {}});
    graph.add_node({"div", "scale", {"centred", "deviation"}, {"normalised"}, {}});
    add_random_tensor(graph, random, "encoder.weight", {hidden, input});
    add_random_tensor(graph, random, "encoder.bias", {hidden});
    graph.add_node({"linear", "encoder", {"normalised", "encoder.weight", "encoder.bias"}, {"encoded"}, {}});
    graph.add_node({"elu", "encoder.elu", {"encoded"}, {"features"}, {}});
    const std::string first = add_cell(graph, random, op, "layer0", "features", hidden);
    const std::string second = add_cell(graph, random, op, "layer1", first, hidden);
    add_random_tensor(graph, random, "head.weight", {output, hidden});
    graph.add_node({"linear", "head", {second, "head.weight"}, {"y"}, {}});
    graph.add_output("y", "y");
    return graph;
}

}  // namespace rtrnn::testing
