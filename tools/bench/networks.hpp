// The networks that the C++ benchmarks step: one cell, or a policy with its encoder and head.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "tests/cpp/networks.hpp"

namespace rtrnn::benchmarks {

inline std::string add_linear(Graph& graph, testing::Random& random, const std::string& name, const std::string& x, std::int64_t rows) {
    testing::add_random_tensor(graph, random, name + ".weight", {rows, graph.shape(x)[0]}, 0.2f);
    testing::add_random_tensor(graph, random, name + ".bias", {rows});
    graph.add_node({"linear", name, {x, name + ".weight", name + ".bias"}, {name + ".y"}, {}});
    return name + ".y";
}

inline Graph one_cell(const std::string& cell, std::int64_t input_size, std::int64_t hidden_size) {
    testing::Random random(1);
    Graph graph;
    graph.add_input("x", {input_size});
    graph.add_output("y", testing::add_cell(graph, random, cell, cell, "x", hidden_size));
    return graph;
}

// A policy of the shape of the Unitree G1's: LSTM 47 to 64, Linear 32, ELU, Linear 12.
inline Graph g1_shape() {
    testing::Random random(2);
    Graph graph;
    graph.add_input("x", {47});
    const std::string hidden = add_linear(graph, random, "head0", testing::add_cell(graph, random, "lstm", "lstm", "x", 64), 32);
    graph.add_node({"elu", "elu", {hidden}, {"activated"}, {}});
    graph.add_output("y", add_linear(graph, random, "head1", "activated", 12));
    return graph;
}

// A policy of the shape of RAPTOR's for quadrotors: Linear 22 to 16, ReLU, GRU 16, Linear 4.
inline Graph raptor_shape() {
    testing::Random random(3);
    Graph graph;
    graph.add_input("x", {22});
    graph.add_node({"relu", "relu", {add_linear(graph, random, "encoder", "x", 16)}, {"encoded"}, {}});
    graph.add_output("y", add_linear(graph, random, "head", testing::add_cell(graph, random, "gru", "gru", "encoded", 16), 4));
    return graph;
}

// "gru 64x128" (input x hidden; "gru 64" is 64x64), "g1" or "raptor". Throws std::invalid_argument for another name.
inline Graph named_network(const std::string& name) {
    if (name == "g1") return g1_shape();
    if (name == "raptor") return raptor_shape();
    const std::size_t space = name.find(' '), cross = name.find('x', space);
    const std::string cell = name.substr(0, space);
    if (space == std::string::npos || (cell != "gru" && cell != "lstm" && cell != "rnn"))
        throw std::invalid_argument("network '" + name + "': expected g1, raptor, or gru, lstm or rnn and its size, as in 'gru 64x128'");
    const auto number = [&](std::size_t from, std::size_t to) -> std::int64_t {
        const std::string digits = name.substr(from, to - from);
        if (digits.empty() || digits.size() > 5 || digits.find_first_not_of("0123456789") != std::string::npos || std::stoi(digits) < 1)
            throw std::invalid_argument("network '" + name + "': expected sizes from 1 to 99999, as in 'gru 64x128'");
        return std::stoi(digits);
    };
    const std::int64_t input_size = number(space + 1, cross == std::string::npos ? name.size() : cross);
    return one_cell(cell, input_size, cross == std::string::npos ? input_size : number(cross + 1, name.size()));
}

// Weights and biases that a step reads, in bytes of f32.
inline std::size_t weight_bytes(const Graph& graph) {
    std::size_t total = 0;
    for (const Tensor& tensor : graph.tensors()) {
        bool read = false;
        for (const Node& node : graph.nodes())
            for (const std::string& input : node.inputs) read = read || input == tensor.name;
        if (read) total += static_cast<std::size_t>(element_count(tensor.shape)) * sizeof(float);
    }
    return total;
}

// Rows of inputs for a StepTimer.
inline std::vector<float> random_rows(const Graph& graph, std::size_t rows = 64) {
    std::size_t size = 0;
    for (const Input& input : graph.inputs()) size += static_cast<std::size_t>(element_count(input.shape));
    return testing::Random(9).vector(rows * size);
}

}  // namespace rtrnn::benchmarks
