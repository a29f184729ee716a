#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>

#include "networks.hpp"
#include "plan/passes.hpp"
#include "stream/sequence.hpp"

using namespace rtrnn;
using namespace rtrnn::testing;

namespace {

std::vector<float> run(const Graph& graph, const std::vector<float>& x, std::size_t steps, std::size_t output = 0) {
    const Sequence sequence(graph, {});
    std::vector<std::vector<float>> results;
    std::vector<float*> outputs;
    for (std::size_t i = 0; i < graph.outputs().size(); ++i) {
        const auto size = static_cast<std::size_t>(element_count(graph.output_shape(i)));
        results.emplace_back(size * (sequence.is_per_timestep(i) ? steps : 1));
    }
    for (auto& result : results) outputs.push_back(result.data());
    CHECK(sequence.run({x.data()}, outputs, steps, nullptr) == Status::ok);
    return results[output];
}

Attributes reversed() { return {{"direction", std::string("reverse")}}; }

}  // namespace

TEST_CASE("a reverse layer is the forward layer on the sequence turned round") {
    constexpr std::size_t steps = 9, in = 3, hidden = 5;
    for (const char* op : {"rnn", "gru", "lstm"}) {
        Graph forward, backward;
        Random seed_a(1), seed_b(1), data(2);
        forward.add_input("x", {in});
        backward.add_input("x", {in});
        forward.add_output("y", add_cell(forward, seed_a, op, "cell", "x", hidden));
        backward.add_output("y", add_cell(backward, seed_b, op, "cell", "x", hidden, reversed()));
        const auto x = data.vector(steps * in);
        std::vector<float> turned;
        for (std::size_t t = steps; t-- > 0;) turned.insert(turned.end(), x.begin() + static_cast<std::ptrdiff_t>(t * in), x.begin() + static_cast<std::ptrdiff_t>((t + 1) * in));
        const auto there = run(forward, turned, steps), back = run(backward, x, steps);
        for (std::size_t t = 0; t < steps; ++t) CHECK(std::memcmp(&there[t * hidden], &back[(steps - 1 - t) * hidden], hidden * sizeof(float)) == 0);
    }
}

TEST_CASE("stacked bidirectional layers with a final state and a head on each") {
    constexpr std::size_t steps = 6, in = 2, hidden = 3;
    Graph graph;
    Random random(3), data(4);
    graph.add_input("x", {in});
    std::string value = "x";
    for (int layer = 0; layer < 2; ++layer) {
        const std::string name = "layer" + std::to_string(layer);
        const std::string f = add_cell(graph, random, "gru", name + ".f", value, hidden);
        const std::string b = add_cell(graph, random, "gru", name + ".b", value, hidden, reversed());
        graph.add_node({"concat", name + ".y", {f, b}, {name + ".y"}, {{"axis", std::int64_t{0}}}});
        value = name + ".y";
    }
    graph.add_node({"last", "final_f", {"layer1.f.h_next"}, {"final_f"}, {}});
    graph.add_node({"last", "final_b", {"layer1.b.h_next"}, {"final_b"}, {}});
    graph.add_node({"concat", "final", {"final_f", "final_b"}, {"final"}, {{"axis", std::int64_t{0}}}});
    graph.add_node({"tanh", "head", {"final"}, {"head"}, {}});
    graph.add_output("y", value);
    graph.add_output("final", "final");
    graph.add_output("head", "head");
    CHECK(!graph.is_causal());
    const Sequence sequence(graph, {});
    CHECK(sequence.is_per_timestep(0));
    CHECK(!sequence.is_per_timestep(1));
    CHECK(!sequence.is_per_timestep(2));
    const auto x = data.vector(steps * in);
    const auto y = run(graph, x, steps, 0), final = run(graph, x, steps, 1);
    REQUIRE(final.size() == 2 * hidden);
    for (std::size_t i = 0; i < hidden; ++i) {
        CHECK(final[i] == y[(steps - 1) * 2 * hidden + i]);          // the forward half ends at the last timestep
        CHECK(final[hidden + i] == y[hidden + i]);                  // the reverse half at the first
    }
    std::vector<PassKind> kinds;
    for (const Pass& pass : split_into_passes(graph)) kinds.push_back(pass.kind);
    CHECK(kinds == std::vector<PassKind>{PassKind::forward, PassKind::reverse, PassKind::forward, PassKind::reverse, PassKind::forward, PassKind::once});
}

TEST_CASE("a state that needs its own future is refused") {
    Graph graph;
    Random random(5);
    graph.add_input("x", {3});
    graph.add_state("s", {3});
    graph.add_node({"add", "sum", {"x", "s"}, {"sum"}, {}});
    const std::string back = add_cell(graph, random, "gru", "back", "sum", 3, reversed());
    graph.set_next("s", back);
    graph.add_output("y", back);
    CHECK_THROWS_AS(split_into_passes(graph), Error);
}
