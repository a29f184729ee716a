#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "networks.hpp"
#include "stream/stream.hpp"

using namespace rtrnn;
using namespace rtrnn::testing;

namespace {

// The message of the Error that adding a conv node throws; "" when it throws none. `x` and `weight` are shapes.
std::string refusal(const Shape& x, const Shape& weight, const Attributes& attributes, const Shape& bias = {}) {
    Graph graph;
    Random random(1);
    graph.add_input("x", x);
    add_random_tensor(graph, random, "w", weight);
    Node node{"conv", "c", {"x", "w"}, {"y"}, attributes};
    if (!bias.empty()) {
        add_random_tensor(graph, random, "b", bias);
        node.inputs.push_back("b");
    }
    try {
        graph.add_node(node);
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::invalid_graph);
        CHECK(!graph.has_value("y"));
        return error.what();
    }
    return "";
}

bool mentions(const std::string& message, std::initializer_list<const char*> parts) {
    for (const char* part : parts)
        if (message.find(part) == std::string::npos) return false;
    return true;
}

Shape shape_of(const Shape& x, const Shape& weight, const Attributes& attributes) {
    Graph graph;
    Random random(1);
    graph.add_input("x", x);
    add_random_tensor(graph, random, "w", weight);
    graph.add_node({"conv", "c", {"x", "w"}, {"y"}, attributes});
    return graph.shape("y");
}

Graph conv_graph(const Shape& x, const Shape& weight, const Attributes& attributes, bool activated = false) {
    Graph graph;
    Random random(2);
    graph.add_input("x", x);
    add_random_tensor(graph, random, "w", weight);
    add_random_tensor(graph, random, "b", {weight[0]});
    graph.add_node({"conv", "c", {"x", "w", "b"}, {"y"}, attributes});
    if (activated) graph.add_node({"relu", "r", {"y"}, {"z"}, {}});
    graph.add_output("y", activated ? "z" : "y");
    return graph;
}

std::size_t calls(const Graph& graph) { return Plan(graph).step_calls().size(); }

}  // namespace

TEST_CASE("shapes of convolutions") {
    CHECK(shape_of({3, 10}, {4, 3, 3}, {}) == Shape{4, 8});
    CHECK(shape_of({3, 10}, {4, 3, 3}, {{"pads", Shape{2, 1}}, {"strides", Shape{3}}, {"dilations", Shape{2}}}) == Shape{4, 3});
    CHECK(shape_of({4, 6, 5}, {6, 2, 3, 2}, {{"groups", std::int64_t{2}}, {"pads", Shape{1, 0, 0, 1}}}) == Shape{6, 5, 5});
    CHECK(shape_of({1, 2, 3, 4}, {1, 1, 1, 1, 1}, {}) == Shape{1, 2, 3, 4});
}

TEST_CASE("convolutions that do not fit are refused") {
    CHECK(mentions(refusal({10}, {4, 3, 3}, {}), {"c", "conv", "x", "(10,)"}));
    CHECK(mentions(refusal({3, 10}, {4, 3}, {}), {"weight 'w'", "1 kernel sizes", "(4, 3)"}));
    CHECK(mentions(refusal({3, 10}, {4, 2, 3}, {}), {"expected 3 channels", "(4, 2, 3)"}));
    CHECK(mentions(refusal({3, 10}, {4, 3, 3}, {{"groups", std::int64_t{2}}}), {"groups 2", "3 channels"}));
    CHECK(mentions(refusal({3, 10}, {4, 3, 3}, {{"groups", std::int64_t{0}}}), {"groups 0"}));
    CHECK(mentions(refusal({4, 10}, {3, 2, 3}, {{"groups", std::int64_t{2}}}), {"groups 2", "3 output channels"}));
    CHECK(mentions(refusal({3, 10}, {4, 3, 11}, {}), {"axis 1", "spans 11", "has 10"}));
    CHECK(mentions(refusal({3, 10}, {4, 3, 3}, {{"dilations", Shape{6}}}), {"spans 13", "has 10"}));
    CHECK(mentions(refusal({3, 10}, {4, 3, 3}, {}, {3}), {"bias", "(4,)", "(3,)"}));
    for (const char* key : {"strides", "dilations"}) {
        CHECK(mentions(refusal({3, 10}, {4, 3, 3}, {{key, Shape{0}}}), {key, "0"}));
        CHECK(mentions(refusal({3, 10}, {4, 3, 3}, {{key, Shape{-1}}}), {key, "-1"}));
        CHECK(mentions(refusal({3, 10}, {4, 3, 3}, {{key, Shape{1, 1}}}), {key, "1 axes"}));
        CHECK(mentions(refusal({3, 10}, {4, 3, 3}, {{key, std::string("1")}}), {key, "integers"}));
    }
    CHECK(mentions(refusal({3, 10}, {4, 3, 3}, {{"pads", Shape{0, -1}}}), {"pads", "-1"}));
    CHECK(mentions(refusal({3, 10}, {4, 3, 3}, {{"pads", Shape{1}}}), {"pads"}));
    Graph graph;   // weights must be tensors
    graph.add_input("x", {3, 10});
    graph.add_input("w", {4, 3, 3});
    CHECK_THROWS_AS(graph.add_node({"conv", "c", {"x", "w"}, {"y"}, {}}), Error);
}

TEST_CASE("convolutions of impossible sizes are refused before memory is asked for") {
    constexpr std::int64_t huge = std::numeric_limits<std::int64_t>::max();
    for (const char* key : {"strides", "dilations"}) CHECK(mentions(refusal({3, 10}, {4, 3, 3}, {{key, Shape{huge}}}), {key}));
    CHECK(mentions(refusal({3, 10}, {4, 3, 3}, {{"pads", Shape{huge, huge}}}), {"pads"}));
    const std::int64_t wide = Graph::max_value_elements;
    CHECK(mentions(refusal({1, 10}, {1, 1, 1000}, {{"pads", Shape{wide, wide}}}), {"windows"}));
    CHECK(mentions(refusal({1, 8, 8, 8}, {1, 1, 1, 1, 1}, {{"pads", Shape{wide, wide, wide, wide, wide, wide}}}), {"windows"}));
    // One window each time, however far the stride goes.
    CHECK(shape_of({1, 8}, {1, 1, 3}, {{"strides", Shape{wide}}, {"pads", Shape{100, 100}}}) == Shape{1, 1});
}

TEST_CASE("a convolution is no more calls than it needs") {
    CHECK(calls(conv_graph({6, 9}, {4, 6, 9}, {})) == 1);                                  // one window: a product
    CHECK(calls(conv_graph({6, 9}, {4, 6, 9}, {}, true)) == 1);                            // and the function behind it
    CHECK(calls(conv_graph({1, 32}, {1, 1, 8}, {{"strides", Shape{8}}})) == 1);            // windows side by side
    CHECK(calls(conv_graph({1, 32}, {5, 1, 8}, {{"strides", Shape{8}}})) == 2);            // and channels put first
    CHECK(calls(conv_graph({6, 9}, {4, 6, 1}, {}, true)) == 3);                            // channels last, product, channels first
    CHECK(calls(conv_graph({6, 9}, {4, 6, 3}, {})) == 3);                                  // windows, product, channels first
    CHECK(calls(conv_graph({6, 9}, {4, 6, 3}, {{"pads", Shape{1, 1}}})) == 5);             // and a zero behind x
    CHECK(calls(conv_graph({6, 1}, {4, 3, 1}, {{"groups", std::int64_t{2}}}, true)) == 2); // a product for each group
    const Attributes depthwise{{"groups", std::int64_t{64}}};
    CHECK(calls(conv_graph({64, 20}, {64, 1, 3}, depthwise, true)) == 5);                  // windows, products, sums, bias, function
    CHECK(calls(conv_graph({64, 20}, {64, 1, 1}, depthwise)) == 2);                        // products, bias
}

TEST_CASE("depthwise products are added tap by tap, then the bias") {
    for (const std::int64_t length : {4, 40}) {
        const Graph graph = conv_graph({16, length}, {16, 1, 3}, {{"groups", std::int64_t{16}}, {"pads", Shape{2, 0}}});
        Random random(7);
        const auto x = random.vector(static_cast<std::size_t>(16 * length));
        const float* w = graph.find_tensor("w")->data.get();
        const float* b = graph.find_tensor("b")->data.get();
        Stream stream(std::make_shared<const Plan>(graph));
        std::memcpy(stream.input(0), x.data(), x.size() * sizeof(float));
        REQUIRE(stream.step() == Status::ok);
        for (std::int64_t c = 0; c < 16; ++c)
            for (std::int64_t p = 0; p < length; ++p) {
                float sum = 0;
                for (std::int64_t t = 0; t < 3; ++t) {
                    const volatile float product = (p + t < 2 ? 0.0f : x[static_cast<std::size_t>(c * length + p + t - 2)]) * w[c * 3 + t];
                    sum = t == 0 ? product : sum + product;
                }
                CHECK(stream.output(0)[c * length + p] == sum + b[c]);
            }
    }
}

TEST_CASE("a convolution of a state runs in prepare") {
    Graph graph;
    Random random(3);
    graph.add_input("x", {4, 3});
    graph.add_state("s", {4, 3});
    add_random_tensor(graph, random, "w", {4, 4, 3});
    graph.add_node({"conv", "c", {"s", "w"}, {"past"}, {{"pads", Shape{1, 1}}}});
    graph.add_node({"add", "sum", {"x", "past"}, {"y"}, {}});
    graph.set_next("s", "y");
    graph.add_output("y", "y");
    const auto plan = std::make_shared<const Plan>(graph);
    CHECK(plan->prepare_calls().size() == plan->step_calls().size() - 1);   // all but the sum
    Stream plain(plan), prepared(plan);
    for (int t = 0; t < 4; ++t) {
        const auto x = random.vector(12);
        std::memcpy(plain.input(0), x.data(), 48);
        std::memcpy(prepared.input(0), x.data(), 48);
        prepared.prepare();
        REQUIRE(plain.step() == Status::ok);
        REQUIRE(prepared.step() == Status::ok);
        CHECK(std::memcmp(plain.output(0), prepared.output(0), 48) == 0);
    }
}

TEST_CASE("nodes that share a tensor share its packed form") {
    const auto stack = [](int cells) {
        Graph graph;
        Random random(4);
        graph.add_input("x", {16});
        for (const char* role : {"ih", "hh"}) add_random_tensor(graph, random, role, {96, role[0] == 'i' ? 16 : 32});
        add_random_tensor(graph, random, "bias", {96});
        graph.add_state("h", {32});
        std::string h = "h";
        for (int i = 0; i < cells; ++i) {
            const std::string next = "h" + std::to_string(i);
            graph.add_node({"gru", next, {"x", h, "ih", "hh", "bias", "bias"}, {next}, {}});
            h = next;
        }
        graph.set_next("h", h);
        graph.add_output("y", h);
        return Plan(graph).constant_bytes();
    };
    CHECK(stack(1) >= 96 * 48 * sizeof(float));
    CHECK(stack(16) == stack(1));
}
