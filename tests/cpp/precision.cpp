// Plans whose matrices are packed in fewer bits: the same bits however a step is taken and on every ISA; the options that ask for them.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "kernels/dispatch.hpp"
#include "networks.hpp"
#include "stream/sequence.hpp"
#include "stream/stream.hpp"

using namespace rtrnn;
using namespace rtrnn::testing;

namespace {

constexpr std::size_t steps = 30, inputs = 11, outputs = 5;

std::vector<float> sequence() {
    Random random(77);
    return random.vector(steps * inputs, 3);
}

std::vector<float> process(const Graph& graph, const PlanOptions& options) {
    Stream stream(std::make_shared<const Plan>(graph, options));
    const auto xs = sequence();
    std::vector<float> ys(steps * outputs);
    const float* in = xs.data();
    float* out = ys.data();
    CHECK(stream.process(&in, &out, steps, nullptr) == Status::ok);
    return ys;
}

// Every form of a cell, and a projection.
std::vector<std::pair<std::string, Graph>> networks() {
    std::vector<std::pair<std::string, Graph>> list;
    for (const char* op : {"rnn", "gru", "lstm"}) list.emplace_back(op, policy(op));
    Random random(5);
    Graph before;
    before.add_input("x", {inputs});
    before.add_output("y", add_cell(before, random, "gru", "layer", "x", outputs, {{"reset", std::string("before")}}));
    list.emplace_back("gru_before", std::move(before));
    Graph projected;
    projected.add_input("x", {inputs});
    for (const auto& [name, rows, cols] : {std::tuple{"weight_ih", 28, 11}, {"weight_hh", 28, 5}, {"weight_hr", 5, 7}})
        add_random_tensor(projected, random, name, {rows, cols});
    projected.add_state("h", {5});
    projected.add_state("c", {7});
    projected.add_node({"lstm", "layer", {"x", "h", "c", "weight_ih", "weight_hh", "", "", "weight_hr"}, {"h2", "c2"}, {}});
    projected.set_next("h", "h2");
    projected.set_next("c", "c2");
    projected.add_output("y", "h2");
    list.emplace_back("projected lstm", std::move(projected));
    return list;
}

std::string message_of(const Graph& graph, const PlanOptions& options, ErrorKind kind) {
    try {
        Plan plan(graph, options);
    } catch (const Error& error) {
        CHECK(error.kind() == kind);
        return error.what();
    }
    return "";
}

}  // namespace

TEST_CASE("in every precision step, prepare then step, process and run give the same bits on every ISA") {
    const auto xs = sequence();
    for (const auto& [name, graph] : networks()) {
        CAPTURE(name);
        const auto exact = process(graph, {"f32", "scalar"});
        for (const char* weights : {"f16", "bf16", "i16", "i8"}) {
            CAPTURE(std::string(weights));
            const auto expected = process(graph, {weights, "scalar"});
            CHECK(expected != exact);
            double worst = 0;
            for (std::size_t i = 0; i < exact.size(); ++i) worst = std::max(worst, std::fabs(static_cast<double>(expected[i]) - exact[i]));
            CHECK(worst < (std::string(weights) == "f16" || std::string(weights) == "i16" ? 0.01 : 0.3));
            for (const std::string& isa : available_isas()) {
                CAPTURE(isa);
                CHECK(process(graph, {weights, isa}) == expected);
                const auto plan = std::make_shared<const Plan>(graph, PlanOptions{weights, isa});
                Stream plain(plan), prepared(plan);
                for (std::size_t t = 0; t < steps; ++t) {
                    std::memcpy(plain.input(0), xs.data() + t * inputs, inputs * sizeof(float));
                    std::memcpy(prepared.input(0), xs.data() + t * inputs, inputs * sizeof(float));
                    prepared.prepare();
                    CHECK(plain.step() == Status::ok);
                    CHECK(prepared.step() == Status::ok);
                    CHECK(std::memcmp(plain.output(0), expected.data() + t * outputs, outputs * sizeof(float)) == 0);
                    CHECK(std::memcmp(prepared.output(0), expected.data() + t * outputs, outputs * sizeof(float)) == 0);
                }
                std::vector<float> ys(steps * outputs);
                CHECK(Sequence(graph, {weights, isa}).run({xs.data()}, {ys.data()}, steps, nullptr) == Status::ok);
                CHECK(ys == expected);
            }
        }
    }
}

TEST_CASE("fewer bits take less memory") {
    const Graph graph = policy("lstm", 11, 128);
    const auto bytes = [&](const char* weights) { return static_cast<double>(Plan(graph, {weights}).constant_bytes()); };
    const double f32 = bytes("f32");
    for (const char* weights : {"f16", "bf16", "i16"}) CHECK(bytes(weights) / f32 == doctest::Approx(0.5).epsilon(0.1));
    CHECK(bytes("i8") / f32 == doctest::Approx(0.25).epsilon(0.2));
}

TEST_CASE("nodes that share a matrix share its packed form in every precision") {
    for (const char* weights : {"f32", "f16", "bf16", "i16", "i8"}) {
        const auto bytes = [&](const char* second) {
            Graph graph;
            Random random(9);
            graph.add_input("x", {96});
            for (const char* name : {"a", "b"}) add_random_tensor(graph, random, name, {96, 96});
            graph.add_node({"linear", "first", {"x", "a"}, {"u"}, {}});
            graph.add_node({"linear", "second", {"u", second}, {"y"}, {}});
            graph.add_output("y", "y");
            return Plan(graph, {weights}).constant_bytes();
        };
        CHECK(static_cast<double>(bytes("b")) > 1.7 * static_cast<double>(bytes("a")));
    }
}

TEST_CASE("a matrix may have a precision of its own") {
    const Graph graph = policy("gru");
    const std::map<std::string, std::string> all = {{"encoder.weight", "i16"},    {"layer0.weight_ih", "i16"}, {"layer0.weight_hh", "i16"},
                                                    {"layer1.weight_ih", "i16"}, {"layer1.weight_hh", "i16"}, {"head.weight", "i16"}};
    CHECK(process(graph, {"f32", "", all}) == process(graph, {"i16"}));
    const auto exact = process(graph, {"f32"});
    for (const auto& [matrix, precision] : all) {
        CAPTURE(matrix);
        const auto one = process(graph, {"f32", "", {{matrix, precision}}});
        CHECK(one != exact);
        CHECK(one != process(graph, {"i16"}));
    }
    CHECK(process(graph, {"i8", "", {{"layer0.weight_ih", "f32"}, {"layer0.weight_hh", "f16"}}}) !=
          process(graph, {"i8", "", {{"layer0.weight_ih", "f16"}, {"layer0.weight_hh", "f32"}}}));
    CHECK(message_of(graph, {"f32", "", {{"layer2.weight_ih", "i8"}}}, ErrorKind::invalid_argument) ==
          "weights of 'layer2.weight_ih': the network has no such matrix; it has encoder.weight, head.weight, layer0.weight_hh, layer0.weight_ih, "
          "layer1.weight_hh, layer1.weight_ih");
    CHECK(message_of(graph, {"f32", "", {{"head.weight", "i4"}}}, ErrorKind::unsupported).find("weights of 'head.weight' 'i4' is no precision") == 0);
}

TEST_CASE("a reverse layer runs in any precision, but all its matrices in one") {
    Graph graph;
    Random random(7);
    graph.add_input("x", {inputs});
    graph.add_output("y", add_cell(graph, random, "gru", "back", "x", outputs, {{"direction", std::string("reverse")}}));
    const auto xs = sequence();
    std::vector<float> exact(steps * outputs), reduced(steps * outputs);
    CHECK(Sequence(graph, {"f32"}).run({xs.data()}, {exact.data()}, steps, nullptr) == Status::ok);
    CHECK(Sequence(graph, {"i16"}).run({xs.data()}, {reduced.data()}, steps, nullptr) == Status::ok);
    CHECK(exact != reduced);
    for (std::size_t i = 0; i < exact.size(); ++i) CHECK(std::fabs(exact[i] - reduced[i]) < 0.01f);
    CHECK_THROWS_AS(Sequence(graph, {"f32", "", {{"back.weight_hh", "i8"}}}), Error);
}

TEST_CASE("an unknown precision is an error that lists the known ones") {
    CHECK(message_of(policy("gru"), {"f64"}, ErrorKind::unsupported) ==
          "weights 'f64' is no precision this release has; expected one of 'f32', 'f16', 'bf16', 'i16', 'i8', 'i8a14'");
}

TEST_CASE("weights that a precision cannot hold are refused by node, role and tensor") {
    Graph graph = policy("gru");
    Random random(3);
    graph.add_tensor("large", {1, 5}, std::vector<float>{1, 2, 70000, 3, 4}.data());
    graph.add_node({"linear", "gain", {"y", "large"}, {"z"}, {}});
    graph.add_output("z", "z");
    CHECK(message_of(graph, {"f16"}, ErrorKind::unsupported) ==
          "node 'gain' (linear): weight 'large': weight 70000.000000 at row 0, column 2 does not fit f16");
    CHECK(message_of(graph, {"bf16"}, ErrorKind::unsupported).empty());
}

TEST_CASE("a NaN that is let in comes out, in every precision") {
    for (const char* op : {"rnn", "gru", "lstm"}) {
        for (const char* weights : {"f16", "bf16", "i16", "i8"}) {
            const auto plan = std::make_shared<const Plan>(policy(op), PlanOptions{weights});
            Stream open(plan, OnNonFinite::propagate), strict(plan);
            for (Stream* stream : {&open, &strict}) std::fill_n(stream->input(0), inputs, 0.5f);
            const std::vector<float> before(strict.state(), strict.state() + plan->state_size());
            open.input(0)[3] = strict.input(0)[3] = NAN;
            CHECK(strict.step() == Status::nonfinite_input);
            CHECK(std::vector<float>(strict.state(), strict.state() + plan->state_size()) == before);
            CHECK(open.step() == Status::ok);
            for (std::size_t i = 0; i < plan->state_size(); ++i) CHECK(std::isnan(open.state()[i]));
            std::fill_n(open.input(0), inputs, 0.5f);   // the state keeps it
            open.prepare();
            CHECK(open.step() == Status::ok);
            for (std::size_t i = 0; i < outputs; ++i) CHECK(std::isnan(open.output(0)[i]));
        }
    }
}
