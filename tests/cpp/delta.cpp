// Delta updates: with threshold 0 the network itself, up to rounding; with a larger one near it.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "error.hpp"
#include "kernels/dispatch.hpp"
#include "networks.hpp"
#include "stream/stream.hpp"

using namespace rtrnn;
using namespace rtrnn::testing;

namespace {

PlanOptions with_delta(double threshold, const std::string& isa = "") {
    PlanOptions options{"f32", isa};
    options.delta = threshold;
    return options;
}

// A slow sine in every input, one phase each.
void fill_input(Stream& stream, int t) {
    for (std::size_t i = 0; i < stream.plan().inputs()[0].size; ++i)
        stream.input(0)[i] = static_cast<float>(std::sin(0.02 * t + static_cast<double>(i)));
}

// The largest difference of the outputs.
double error_of(const Graph& graph, double threshold, int steps = 300) {
    Stream dense(std::make_shared<const Plan>(graph)), delta(std::make_shared<const Plan>(graph, with_delta(threshold)));
    double worst = 0;
    for (int t = 0; t < steps; ++t) {
        fill_input(dense, t);
        fill_input(delta, t);
        REQUIRE(dense.step() == Status::ok);
        if (t % 3 == 0) delta.prepare();
        REQUIRE(delta.step() == Status::ok);
        for (std::size_t i = 0; i < dense.plan().outputs()[0].size; ++i)
            worst = std::max(worst, std::fabs(static_cast<double>(dense.output(0)[i]) - delta.output(0)[i]));
    }
    return worst;
}

Graph odd_cells() {
    Random random(2);
    Graph graph;
    graph.add_input("x", {5});
    std::string value = add_cell(graph, random, "gru", "a", "x", 9, {{"clip", 0.7}, {"activations", std::vector<std::string>{"hard_sigmoid", "softsign"}}});
    value = add_cell(graph, random, "lstm", "b", value, 7, {{"clip", 1.5}, {"activations", std::vector<std::string>{"sigmoid", "scaled_tanh", "elu"}},
                                                            {"alpha", std::vector<double>{0, 1.2, 0.9}}, {"beta", std::vector<double>{0, 0.8, 0}}});
    value = add_cell(graph, random, "gru", "left", value, 6, {{"reset", std::string("before")}});
    add_random_tensor(graph, random, "ih", {4 * 8, 6});
    add_random_tensor(graph, random, "hh", {4 * 8, 3});
    add_random_tensor(graph, random, "hr", {3, 8});
    add_random_tensor(graph, random, "h0", {3});
    graph.add_state("p.h", {3}, "h0");
    graph.add_state("p.c", {8});
    graph.add_node({"lstm", "p", {value, "p.h", "p.c", "ih", "hh", "", "", "hr"}, {"y", "p.c_next"}, {}});
    graph.set_next("p.h", "y");
    graph.set_next("p.c", "p.c_next");
    graph.add_output("y", "y");
    return graph;
}

}  // namespace

TEST_CASE("delta updates with threshold 0 are the network up to rounding; with a larger one they are near it") {
    for (const char* op : {"gru", "lstm"}) {
        const Graph graph = policy(op);
        CHECK(error_of(graph, 0) < 2e-5);
        const double coarse = error_of(graph, 0.05);
        CHECK(coarse > 1e-3);   // something is left out
        CHECK(coarse < 1);
        CHECK(error_of(graph, 0.002) < coarse / 4);
    }
    CHECK(error_of(policy("rnn"), 0, 20) < 2e-5);   // random weights make it chaotic
    CHECK(error_of(odd_cells(), 0) < 2e-5);
}

TEST_CASE("delta updates give the same bits on every ISA and for every way of stepping, from states that can be saved") {
    const Graph graph = policy("lstm", 11, 37);
    std::vector<std::vector<float>> reference;
    for (const std::string& isa : available_isas()) {
        const auto plan = std::make_shared<const Plan>(graph, with_delta(0.01, isa));
        CHECK(plan->states().size() == 2 * (2 + 4));   // two layers: h, c and what was used and summed
        Stream stream(plan), resumed(plan), fresh(plan);
        for (int t = 0; t < 60; ++t) {
            fill_input(stream, t);
            fill_input(resumed, t);
            if (t % 4 == 1) stream.prepare();
            if (t == 30) REQUIRE(resumed.set_state(stream.state()));
            stream.step();
            if (t >= 30) resumed.step();
            const std::vector<float> now(stream.state(), stream.state() + plan->state_size());
            if (reference.size() <= static_cast<std::size_t>(t)) reference.push_back(now);
            CHECK(now == reference[static_cast<std::size_t>(t)]);
            if (t >= 30) CHECK(std::memcmp(resumed.state(), now.data(), now.size() * sizeof(float)) == 0);
        }
        stream.reset();
        CHECK(std::memcmp(stream.state(), fresh.state(), plan->state_size() * sizeof(float)) == 0);
    }
}

TEST_CASE("delta updates do not hide a NaN, and refuse what is no threshold") {
    const auto plan = std::make_shared<const Plan>(policy("gru"), with_delta(0.5));
    Stream stream(plan, OnNonFinite::propagate);
    stream.step();
    stream.input(0)[3] = NAN;
    stream.step();
    CHECK(std::isnan(stream.output(0)[0]));
    CHECK_THROWS_WITH_AS(Plan(policy("gru"), with_delta(INFINITY)), "delta: expected a threshold from 0 on", Error);
}
