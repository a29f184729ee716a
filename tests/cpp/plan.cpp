#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/dispatch.hpp"
#include "networks.hpp"
#include "stream/stream.hpp"

using namespace rtrnn;
using namespace rtrnn::testing;

namespace {

Node node(const std::string& op, std::vector<std::string> inputs, const std::string& output, Attributes attributes = {}) {
    return {op, output, std::move(inputs), {output}, std::move(attributes)};
}

Attributes axis(std::int64_t value) { return {{"axis", value}}; }

Attributes part(std::int64_t at, std::int64_t start, std::int64_t stop, std::int64_t step = 1) {
    return {{"axis", at}, {"start", start}, {"stop", stop}, {"step", step}};
}

std::vector<float> run(const Graph& graph, const std::vector<float>& x) {
    Stream stream(std::make_shared<const Plan>(graph));
    std::memcpy(stream.input(0), x.data(), x.size() * sizeof(float));
    CHECK(stream.step() == Status::ok);
    return {stream.output(0), stream.output(0) + stream.plan().outputs()[0].size};
}

std::size_t calls(const Graph& graph) { return Plan(graph).step_calls().size(); }

}  // namespace

TEST_CASE("reshaping, slicing and joining cost nothing") {
    Graph graph;
    graph.add_input("x", {12});
    graph.add_node(node("neg", {"x"}, "n"));
    graph.add_node(node("reshape", {"n"}, "matrix", {{"shape", Shape{3, 4}}}));
    graph.add_node(node("slice", {"matrix"}, "row", part(0, 1, 2)));
    graph.add_node(node("reshape", {"row"}, "flat", {{"shape", Shape{4}}}));
    graph.add_node(node("abs", {"flat"}, "a"));
    graph.add_node(node("gather", {"n"}, "run", {{"axis", std::int64_t{0}}, {"indices", Shape{4, 5, 6}}}));
    graph.add_node(node("exp", {"run"}, "e"));
    graph.add_node(node("concat", {"a", "e"}, "y", axis(0)));
    graph.add_output("y", "y");
    CHECK(calls(graph) == 3);   // neg, abs, exp: each part of y is written where it belongs
    std::vector<float> x;
    for (int i = 0; i < 12; ++i) x.push_back(static_cast<float>(i) / 8);
    const auto y = run(graph, x);
    CHECK(std::vector<float>(y.begin(), y.begin() + 4) == std::vector<float>{0.5f, 0.625f, 0.75f, 0.875f});
    CHECK(y[5] == doctest::Approx(std::exp(-0.625)));
}

TEST_CASE("what cannot be placed is copied, and is right") {
    Graph graph;   // a value joined twice, an input joined, a join along an inner axis, a strided slice, a transpose
    graph.add_input("x", {6});
    graph.add_node(node("neg", {"x"}, "n"));
    graph.add_node(node("concat", {"n", "x", "n"}, "joined", axis(0)));
    graph.add_node(node("reshape", {"x"}, "m", {{"shape", Shape{2, 3}}}));
    graph.add_node(node("concat", {"m", "m"}, "wide", axis(1)));
    graph.add_node(node("permute", {"wide"}, "tall", {{"axes", Shape{1, 0}}}));
    graph.add_node(node("slice", {"joined"}, "every", part(0, 1, 18, 5)));
    graph.add_node(node("reshape", {"tall"}, "tall_flat", {{"shape", Shape{12}}}));
    graph.add_node(node("concat", {"joined", "tall_flat", "every"}, "y", axis(0)));
    graph.add_output("y", "y");
    CHECK(run(graph, {1, 2, 3, 4, 5, 6}) == std::vector<float>{-1, -2, -3, -4, -5, -6, 1, 2, 3, 4, 5, 6, -1, -2, -3, -4, -5, -6,
                                                               1, 4, 2, 5, 3, 6, 1, 4, 2, 5, 3, 6, -2, 1, 6, -5});
}

TEST_CASE("a linear takes the activation behind it, a normaliser becomes one call") {
    const Graph graph = policy("gru");
    CHECK(graph.nodes().size() == 7);
    CHECK(calls(graph) == 5);   // normalise, encoder with elu, two cells, head
    Graph shared;               // an activation whose operand has another reader stays apart
    Random random(4);
    shared.add_input("x", {4});
    add_random_tensor(shared, random, "w", {4, 4});
    shared.add_node(node("linear", {"x", "w"}, "sum"));
    shared.add_node(node("relu", {"sum"}, "r"));
    shared.add_node(node("add", {"sum", "r"}, "y"));
    shared.add_output("y", "y");
    CHECK(calls(shared) == 3);
}

TEST_CASE("broadcasting, against the definition") {
    const std::vector<std::pair<Shape, Shape>> pairs = {{{5}, {5}},       {{5}, {1}},       {{1}, {5}},    {{3, 5}, {5}},         {{3, 5}, {3, 1}},
                                                        {{3, 1}, {1, 5}}, {{2, 3, 5}, {5}}, {{2, 3, 5}, {3, 1}}, {{2, 1, 5}, {3, 1}}, {{2, 3, 1}, {2, 1, 5}}};
    for (const auto& [a, b] : pairs) {
        Graph graph;
        Random random(5);
        graph.add_input("x", {element_count(a) + element_count(b)});
        graph.add_node(node("slice", {"x"}, "a_flat", part(0, 0, element_count(a))));
        graph.add_node(node("slice", {"x"}, "b_flat", part(0, element_count(a), element_count(a) + element_count(b))));
        graph.add_node(node("reshape", {"a_flat"}, "a", {{"shape", a}}));
        graph.add_node(node("reshape", {"b_flat"}, "b", {{"shape", b}}));
        graph.add_node(node("sub", {"a", "b"}, "y"));
        graph.add_output("y", "y");
        const auto x = random.vector(static_cast<std::size_t>(element_count(a) + element_count(b)));
        const auto y = run(graph, x);
        const Shape& shape = graph.shape("y");
        for (std::size_t i = 0; i < y.size(); ++i) {
            std::size_t rest = i, at_a = 0, at_b = 0, stride_a = 1, stride_b = 1;
            for (std::size_t d = 1; d <= shape.size(); ++d) {
                const auto size = static_cast<std::size_t>(shape[shape.size() - d]);
                const std::size_t index = rest % size;
                rest /= size;
                const auto da = static_cast<std::size_t>(d <= a.size() ? a[a.size() - d] : 1), db = static_cast<std::size_t>(d <= b.size() ? b[b.size() - d] : 1);
                at_a += (da == 1 ? 0 : index) * stride_a;
                at_b += (db == 1 ? 0 : index) * stride_b;
                stride_a *= da;
                stride_b *= db;
            }
            CHECK(y[i] == x[at_a] - x[static_cast<std::size_t>(element_count(a)) + at_b]);
        }
    }
}

TEST_CASE("temporaries share memory, and a stream is small") {
    Graph graph;
    graph.add_input("x", {256});
    std::string value = "x";
    for (int i = 0; i < 40; ++i) {
        graph.add_node(node("tanh", {value}, "t" + std::to_string(i)));
        value = "t" + std::to_string(i);
    }
    graph.add_output("y", value);
    CHECK(Plan(graph).arena_size() <= 5 * 256);   // input, committed and pending output, two temporaries
}

TEST_CASE("nodes that depend on the state alone run in prepare") {
    Graph graph;   // a hand-written cell: h' = tanh(x + W h)
    Random random(6);
    graph.add_input("x", {8});
    graph.add_state("h", {8});
    add_random_tensor(graph, random, "w", {8, 8});
    graph.add_node(node("linear", {"h", "w"}, "recurrent"));
    graph.add_node(node("add", {"x", "recurrent"}, "sum"));
    graph.add_node(node("tanh", {"sum"}, "next"));
    graph.set_next("h", "next");
    graph.add_output("y", "next");
    const auto plan = std::make_shared<const Plan>(graph);
    CHECK(plan->prepare_calls().size() == 1);
    CHECK(plan->finish_calls().size() + 1 == plan->step_calls().size());
    Stream plain(plan), prepared(plan);
    for (int t = 0; t < 5; ++t) {
        const auto x = random.vector(8);
        std::memcpy(plain.input(0), x.data(), 32);
        std::memcpy(prepared.input(0), x.data(), 32);
        prepared.prepare();
        CHECK(plain.step() == Status::ok);
        CHECK(prepared.step() == Status::ok);
        CHECK(std::memcmp(plain.output(0), prepared.output(0), 32) == 0);
    }
}

TEST_CASE("prepare fetches what finish reads first, as much as the cache holds") {
    Random random(3);
    Graph graph;
    graph.add_input("x", {24});
    add_random_tensor(graph, random, "w", {32, 24});
    graph.add_node(node("linear", {"x", "w"}, "encoded"));
    const std::string h = add_cell(graph, random, "gru", "gru", "encoded", 64);
    add_random_tensor(graph, random, "v", {8, 64});
    graph.add_node(node("linear", {h, "v"}, "y"));
    graph.add_output("y", "y");
    const Plan plan(graph, {"f32", "scalar"});
    const auto fetched = [&](bool odd) { return plan.turn(odd).fetch; };
    const auto& encoder = *static_cast<const LinearArgs*>(plan.finish_calls()[0].args);
    std::size_t total[2] = {0, 0};
    for (const bool odd : {false, true}) {
        const auto& cell = *static_cast<const CellArgs*>(plan.finish_calls(odd)[1].args);
        REQUIRE(fetched(odd).size() == 2);   // the head finds no room
        CHECK(fetched(odd)[0].begin == encoder.weight.weights);
        CHECK(fetched(odd)[0].bytes == 32 * 24 * 4);
        const char* const all = static_cast<const char*>(cell.weight_ih.weights);
        const std::size_t size = 3 * 64 * 32 * 4;
        // An odd step walks backwards, so it begins at the end.
        CHECK(cell.backward == odd);
        CHECK(fetched(odd)[1].begin == (odd ? all + size - fetched(odd)[1].bytes : all));
        CHECK(fetched(odd)[1].bytes < size);
        for (const Fetch& piece : fetched(odd)) total[odd] += piece.bytes;
    }
    CHECK(total[0] == total[1]);
    CHECK(total[0] >= 16 * 1024);
    CHECK(total[0] < 64 * 1024);
}

TEST_CASE("constants lie side by side on lines of their own, whatever was expected") {
    for (const std::size_t expected : {std::size_t{0}, std::size_t{4096}, std::size_t{5} << 20}) {
        Constants constants(expected);
        std::vector<std::pair<const float*, std::vector<float>>> all;
        Random random(4);
        std::size_t bytes = 0;
        for (int i = 0; i < 300; ++i) {
            auto values = random.vector(static_cast<std::size_t>(i * i) % 1300);
            bytes += values.size() * sizeof(float);
            const float* const kept = constants.add(values.data(), values.size());
            CHECK(reinterpret_cast<std::uintptr_t>(kept) % cache_line == 0);
            CHECK(constants.bytes_at(kept) == values.size() * sizeof(float));
            all.emplace_back(kept, std::move(values));
        }
        CHECK(constants.bytes() == bytes);
        CHECK(constants.bytes_at(all[1].first + 1) == 0);
        for (const auto& [kept, values] : all) CHECK(std::equal(values.begin(), values.end(), kept));
        if (expected > bytes)
            for (std::size_t i = 1; i < all.size(); ++i) CHECK(all[i].first > all[i - 1].first);
        Constants moved = std::move(constants);
        CHECK(moved.bytes() == bytes);
        CHECK(all[7].first[3] == all[7].second[3]);
    }
}

TEST_CASE("a reverse layer cannot be streamed, and the error says what can be done") {
    Graph graph;
    Random random(7);
    graph.add_input("x", {3});
    graph.add_output("y", add_cell(graph, random, "gru", "back", "x", 4, {{"direction", std::string("reverse")}}));
    try {
        Plan plan(graph);
        FAIL("expected an error");
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::unsupported);
        CHECK(std::string(error.what()).find("back") != std::string::npos);
        CHECK(std::string(error.what()).find("Model.run") != std::string::npos);
    }
}

TEST_CASE("unknown and unavailable ISAs and precisions are errors") {
    const Graph graph = policy("gru");
    for (const char* isa : {"avx1024", "AVX2"}) {
        try {
            Plan plan(graph, {"f32", isa});
            FAIL("expected an error");
        } catch (const Error& error) {
            CHECK(std::string(error.what()).find(isa) != std::string::npos);
            CHECK(std::string(error.what()).find("scalar") != std::string::npos);
        }
    }
    for (const char* isa : {"scalar", "avx2", "avx512", "neon"})
        if (!find_kernels(isa)) CHECK_THROWS_AS(Plan(graph, {"f32", isa}), Error);
    CHECK_THROWS_AS(Plan(graph, {"f8", ""}), Error);
}
