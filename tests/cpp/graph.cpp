#include <doctest/doctest.h>

#include <limits>

#include "networks.hpp"

using namespace rtrnn;
using namespace rtrnn::testing;

namespace {

// The message of the Error that `f` throws; "" when it throws none.
template <class F>
std::string message_of(F f) {
    try {
        f();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

bool mentions(const std::string& message, std::initializer_list<const char*> parts) {
    for (const char* part : parts)
        if (message.find(part) == std::string::npos) return false;
    return true;
}

Graph linear_graph() {
    Graph graph;
    Random random(3);
    graph.add_input("x", {4});
    add_random_tensor(graph, random, "w", {3, 4});
    return graph;
}

}  // namespace

TEST_CASE("shape rules name the node, what was expected and what was found") {
    Graph graph = linear_graph();
    Random random(1);
    add_random_tensor(graph, random, "narrow", {3, 5});
    CHECK(mentions(message_of([&] { graph.add_node({"linear", "fc", {"x", "narrow"}, {"y"}, {}}); }), {"fc", "narrow", "4", "(3, 5)"}));
    CHECK(mentions(message_of([&] { graph.add_node({"linear", "fc", {"x"}, {"y"}, {}}); }), {"fc", "2 to 3 inputs", "1"}));
    CHECK(mentions(message_of([&] { graph.add_node({"conjure", "fc", {"x"}, {"y"}, {}}); }), {"conjure", "unknown op", "gru", "linear"}));
    CHECK(mentions(message_of([&] { graph.add_node({"linear", "fc", {"later", "w"}, {"y"}, {}}); }), {"fc", "later", "not defined before"}));
    CHECK(mentions(message_of([&] { graph.add_node({"add", "sum", {"x", "w"}, {"x"}, {}}); }), {"x", "taken"}));
    CHECK(mentions(message_of([&] { graph.add_node({"slice", "part", {"x"}, {"y"}, {{"axis", std::int64_t{0}}, {"start", std::int64_t{2}}, {"stop", std::int64_t{9}}}}); }), {"part", "stop 9", "4"}));
    CHECK(mentions(message_of([&] { graph.add_node({"reshape", "r", {"x"}, {"y"}, {{"shape", Shape{3}}}}); }), {"r", "(4,)", "(3,)"}));
    CHECK(mentions(message_of([&] { graph.add_node({"elu", "e", {"x"}, {"y"}, {{"alpha", std::string("big")}}}); }), {"e", "alpha", "number"}));
    CHECK(graph.nodes().empty());   // nothing of a refused node stays
    CHECK(!graph.has_value("y"));
}

TEST_CASE("cells check every operand") {
    Graph graph;
    Random random(2);
    graph.add_input("x", {4});
    graph.add_state("h", {3});
    add_random_tensor(graph, random, "ih", {9, 4});
    add_random_tensor(graph, random, "hh", {9, 3});
    add_random_tensor(graph, random, "bad", {9, 2});
    CHECK(mentions(message_of([&] { graph.add_node({"gru", "g", {"x", "h", "ih", "bad"}, {"n"}, {}}); }), {"g", "weight_hh", "(9, 3)", "(9, 2)"}));
    CHECK(mentions(message_of([&] { graph.add_node({"gru", "g", {"x", "h", "ih", "hh"}, {"n"}, {{"reset", std::string("sideways")}}}); }), {"reset", "sideways"}));
    CHECK(mentions(message_of([&] { graph.add_node({"gru", "g", {"x", "h", "ih", "hh"}, {"n"}, {{"activations", std::vector<std::string>{"tanh", "wave"}}}}); }), {"wave"}));
    CHECK(mentions(message_of([&] { graph.add_node({"gru", "g", {"x", "h", "ih", "hh"}, {"n"}, {{"direction", std::string("both")}}}); }), {"both"}));
    CHECK(mentions(message_of([&] { graph.add_node({"gru", "g", {"x", "h", "ih", "x"}, {"n"}, {}}); }), {"g", "weight_hh"}));
    graph.add_node({"gru", "g", {"x", "h", "ih", "hh"}, {"n"}, {}});
    CHECK(graph.shape("n") == Shape{3});
    CHECK(mentions(message_of([&] { graph.set_next("h", "x"); }), {"h", "(3,)", "(4,)"}));
}

TEST_CASE("a finished graph needs an output, next values and finite tensors") {
    Graph graph = linear_graph();
    CHECK(mentions(message_of([&] { graph.validate(); }), {"no output"}));
    graph.add_output("y", "x");
    graph.validate();
    graph.add_state("s", {4});
    CHECK(mentions(message_of([&] { graph.validate(); }), {"s", "next"}));
    graph.set_next("s", "x");
    graph.validate();
    const float bad[2] = {0, std::numeric_limits<float>::quiet_NaN()};
    graph.add_tensor("poison", {2}, bad);
    CHECK(mentions(message_of([&] { graph.validate(); }), {"poison", "element 1", "finite"}));
}

TEST_CASE("impossible shapes are refused before memory is asked for") {
    Graph graph;
    CHECK(mentions(message_of([&] { graph.add_input("x", {std::int64_t{1} << 40, std::int64_t{1} << 40}); }), {"x", "larger"}));
    CHECK(mentions(message_of([&] { graph.add_input("x", {0}); }), {"x", "at least 1"}));
    CHECK(mentions(message_of([&] { graph.add_input("x", {}); }), {"x", "dimensions"}));
    graph.add_input("x", {1});
    CHECK(mentions(message_of([&] { graph.add_node({"expand", "e", {"x"}, {"y"}, {{"shape", Shape{std::int64_t{1} << 31, 4}}}}); }), {"e"}));
}

TEST_CASE("the fingerprint follows contents, not metadata") {
    const Graph a = policy("gru");
    Graph b = policy("gru");
    CHECK(a.fingerprint() == b.fingerprint());
    b.metadata()["rate"] = "50";
    CHECK(a.fingerprint() == b.fingerprint());
    CHECK(a.fingerprint() != policy("gru", 11, 21, 5, 2).fingerprint());
    CHECK(a.fingerprint() != policy("lstm").fingerprint());
}
