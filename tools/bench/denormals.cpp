// How much slower a step is when inputs, weights, biases, products or states are denormal, and whether that is within bounds.
//
//   denormals [--isa NAME] [--weights f32] [--rounds 41] [--slowed 1]
//
// Each network takes turns with the same network on ordinary numbers, in blocks of some 20 us: what disturbs one block cannot
// favour a side for long, and the ratio is that of the quickest blocks. It may be 1.2 where a cell meets denormal numbers among ordinary
// ones, and 2 where nothing is ordinary: no bias, so that even sums are denormal. First it is seen whether this CPU slows multiply-adds of
// denormals at all. Steps keep denormals, so that every instruction set gives the same bits: on a CPU that takes them many times slower nothing
// is promised, and the status is 77. Status 1: a network is slower than it may be. --slowed makes steps on denormals take so many times
// longer, which must be seen.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "bench/clock.hpp"
#include "stream/stream.hpp"
#include "tests/cpp/networks.hpp"

namespace {

using namespace rtrnn;
using testing::Random;

constexpr std::int64_t size = 64;
constexpr int steps = 16;   // of a block; states are set anew before each, lest they leave their range

// Magnitudes of what a network gets: 1 is ordinary, 1e-40 denormal.
struct Scales {
    const char* name;
    float x, weights, bias, state;
    float keep;   // bias of the gates that decide whether a state stays: with 100 it does, exactly
    double most;
};

constexpr Scales ordinary{"ordinary", 1, 1, 1, 1, 0, 1};
constexpr Scales cases[] = {
    {"denormal inputs", 1e-40f, 1, 1, 1, 0, 1.2},
    {"nothing but denormals", 1e-40f, 1, 0, 1e-40f, 0, 2},
    {"denormal weights", 1, 1e-40f, 1, 1, 0, 1.2},
    {"denormal biases", 1, 1, 1e-40f, 1, 0, 1.2},
    {"denormal products", 1e-20f, 1e-20f, 0, 1e-20f, 0, 2},
    {"states that stay denormal", 1, 1, 1, 1e-40f, 100, 1.2},
    {"states that decay, no input", 0, 1, 0, 1e-38f, 0, 2},
};

std::vector<float> values(Random& random, std::size_t n, float scale) { return random.vector(n, scale); }

void add(Graph& graph, Random& random, const std::string& name, const Shape& shape, float scale) {
    graph.add_tensor(name, shape, values(random, static_cast<std::size_t>(element_count(shape)), scale).data());
}

// linear and tanh, a cell, a head; or, without a cell, elementwise nodes around a state.
Graph network(const std::string& cell, const Scales& s) {
    Random random(1);
    Graph graph;
    const float unit = 0.2f;   // keeps the spread of what passes through
    graph.add_input("x", {size});
    add(graph, random, "encoder.weight", {size, size}, unit * s.weights);
    add(graph, random, "encoder.bias", {size}, s.bias);
    graph.add_node({"linear", "encoder", {"x", "encoder.weight", "encoder.bias"}, {"encoded"}, {}});
    graph.add_node({"tanh", "squash", {"encoded"}, {"features"}, {}});
    graph.add_state("h", {size});
    if (cell == "elementwise") {
        add(graph, random, "leak", {size}, s.weights);
        graph.add_node({"mul", "decay", {"h", "leak"}, {"decayed"}, {}});
        graph.add_node({"add", "gather", {"decayed", "features"}, {"gathered"}, {}});
        graph.add_node({"silu", "bend", {"gathered"}, {"h_next"}, {}});
    } else {
        const std::int64_t gates = cell == "lstm" ? 4 : cell == "gru" ? 3 : 1;
        add(graph, random, "weight_ih", {gates * size, size}, unit * s.weights);
        add(graph, random, "weight_hh", {gates * size, size}, unit * s.weights);
        std::vector<float> bias = random.vector(static_cast<std::size_t>(gates * size), s.bias);
        // update gate of a gru; input and forget gates of an lstm
        for (std::size_t i = 0; s.keep > 0 && gates > 1 && i < size; ++i) {
            if (cell == "lstm") bias[i] = -s.keep;
            bias[size + i] = s.keep;
        }
        graph.add_tensor("bias_ih", {gates * size}, bias.data());
        Node node{cell, "cell", {"features", "h"}, {"h_next"}, {}};
        if (cell == "lstm") {
            graph.add_state("c", {size});
            node.inputs.push_back("c");
            node.outputs.push_back("c_next");
        }
        for (const char* role : {"weight_ih", "weight_hh", "bias_ih"}) node.inputs.push_back(role);
        graph.add_node(node);
        if (cell == "lstm") graph.set_next("c", "c_next");
    }
    graph.set_next("h", "h_next");
    add(graph, random, "head.weight", {8, size}, s.weights);
    graph.add_node({"linear", "head", {"h_next", "head.weight"}, {"y"}, {}});
    graph.add_output("y", "y");
    return graph;
}

class Runner {
public:
    Runner(const std::string& cell, const Scales& scales, const PlanOptions& options)
        : stream_(std::make_shared<const Plan>(network(cell, scales), options)) {
        Random random(2);
        x_ = random.vector(size, scales.x);
        state_ = random.vector(stream_.plan().state_size(), scales.state);
        y_.resize(8);
    }
    std::int64_t block(int count) {
        stream_.set_state(state_.data());
        const std::int64_t begin = now_ns();
        for (int t = 0; t < count; ++t)
            if (stream_.step(x_.data(), y_.data()) != Status::ok) std::abort();
        return now_ns() - begin;
    }

private:
    Stream stream_;
    std::vector<float> x_, y_, state_;
};

// The ratio of the quickest blocks of two things that take turns.
template <class A, class B>
double ratio(int rounds, A&& slow, B&& usual) {
    std::int64_t least_slow = INT64_MAX, least_usual = INT64_MAX;
    for (int round = 0; round < rounds; ++round) {
        least_usual = std::min(least_usual, usual());
        least_slow = std::min(least_slow, slow());
    }
    return static_cast<double>(least_slow) / static_cast<double>(least_usual);
}

// Sums of products of `x` and ordinary weights, as a kernel without any care would form them.
std::int64_t products(float x) {
    static float weights[1024], sums[16];
    for (std::size_t i = 0; i < 1024; ++i) weights[i] = 0.5f;
    for (float& sum : sums) sum = 0;
    const std::int64_t begin = now_ns();
    for (int turn = 0; turn < 8; ++turn)
        for (std::size_t i = 0; i < 1024; i += 16)
            for (std::size_t k = 0; k < 16; ++k) sums[k] += weights[i + k] * x;
    const std::int64_t end = now_ns();
    if (sums[3] < 0) std::abort();   // the sums are needed
    return end - begin;
}

}  // namespace

int main(int argc, char** argv) {
    int rounds = 41;
    double slowed = 1;
    PlanOptions options;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string word = argv[i];
        if (word == "--isa") options.isa = argv[i + 1];
        else if (word == "--weights") options.weights = argv[i + 1];
        else if (word == "--rounds") rounds = std::atoi(argv[i + 1]);
        else if (word == "--slowed") slowed = std::atof(argv[i + 1]);
    }
    const double alone = ratio(rounds, [] { return products(1e-40f); }, [] { return products(1.0f); });
    std::printf("%-12s %-28s %.2f\n", "", "multiply-adds alone", alone);
    int slow = 0;
    for (const char* cell : {"gru", "lstm", "rnn", "elementwise"}) {
        Runner usual(cell, ordinary, options);
        for (const Scales& scales : cases) {
            Runner tiny(cell, scales, options);
            double times = 1e9;   // another attempt for what a busy machine disturbed
            for (int attempt = 0; attempt < 20 && times > scales.most; ++attempt)
                times = std::min(times, ratio(rounds, [&] { return tiny.block(static_cast<int>(steps * slowed)); }, [&] { return usual.block(steps); }));
            slow += times > scales.most;
            std::printf("%-12s %-28s %.2f%s\n", cell, scales.name, times, times > scales.most ? "  TOO SLOW" : "");
        }
    }
    if (alone > 2) {
        std::printf("SKIPPED: this CPU takes %.0f times as long for denormals, and nothing is promised (docs/guarantees.md)\n", alone);
        return 77;
    }
    return slow != 0;
}
