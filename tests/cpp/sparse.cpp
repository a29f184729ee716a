// Matrices packed without their blocks of zeros give the bits of the same matrices packed whole.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/dispatch.hpp"
#include "networks.hpp"
#include "plan/sparse.hpp"
#include "stream/stream.hpp"

using namespace rtrnn;
using namespace rtrnn::testing;

namespace {

constexpr std::int64_t inputs = 70, hidden = 150;   // the last block is not whole, and the columns are more than one block of sums.inl

// Random weights of which blocks of 16 rows x 1 column are zero, by chance. At `almost` 1e-30 is put in their place: too large to be left out, too
// small to be seen in a sum.
std::vector<float> pruned(Random& random, std::int64_t gates, std::int64_t rows, std::int64_t cols, float share, bool almost) {
    std::vector<float> weight = random.vector(static_cast<std::size_t>(gates * rows * cols), 0.3f);
    for (std::int64_t gate = 0; gate < gates; ++gate)
        for (std::int64_t row = 0; row < rows; row += 16)
            for (std::int64_t col = 0; col < cols; ++col) {
                if (0.5f * (random.next() + 1) >= share) continue;
                for (std::int64_t i = row; i < std::min(row + 16, rows); ++i)
                    weight[static_cast<std::size_t>((gate * rows + i) * cols + col)] = almost ? 1e-30f : 0.0f;
            }
    return weight;
}

// One cell of each kind and a linear layer; the same random numbers for both values of `almost`.
Graph network(bool almost, const std::string& reset = "after", float ih_share = 0.8f) {
    Random random(12);
    Graph graph;
    graph.add_input("x", {inputs});
    std::string value = "x";
    for (const std::string op : {"gru", "lstm", "rnn"}) {
        const std::int64_t gates = op == "lstm" ? 4 : op == "gru" ? 3 : 1, size = graph.shape(value)[0];
        graph.add_tensor(op + ".ih", {gates * hidden, size}, pruned(random, gates, hidden, size, ih_share, almost).data());
        graph.add_tensor(op + ".hh", {gates * hidden, hidden}, pruned(random, gates, hidden, hidden, 0.8f, almost).data());
        add_random_tensor(graph, random, op + ".bias", {gates * hidden});
        graph.add_state(op + ".h", {hidden});
        Node node{op, op, {value, op + ".h"}, {op + ".next"}, {}};
        if (op == "gru") node.attributes["reset"] = reset;
        if (op == "lstm") {
            graph.add_state("lstm.c", {hidden});
            node.inputs.push_back("lstm.c");
            node.outputs.push_back("lstm.c_next");
        }
        for (const char* role : {".ih", ".hh", ".bias"}) node.inputs.push_back(op + role);
        graph.add_node(node);
        graph.set_next(op + ".h", op + ".next");
        if (op == "lstm") graph.set_next("lstm.c", "lstm.c_next");
        value = op + ".next";
    }
    graph.add_tensor("head", {hidden, hidden}, pruned(random, 1, hidden, hidden, 0.8f, almost).data());
    graph.add_node({"linear", "head", {value, "head"}, {"y"}, {}});
    graph.add_output("y", "y");
    return graph;
}

}  // namespace

TEST_CASE("a matrix without its zero blocks gives the bits of the whole one, on every ISA, with and without threads") {
    for (const std::string reset : {"after", "before"}) {
        for (const float ih_share : {0.8f, 0.1f}) {   // also a sparse matrix beside one that is not
            std::vector<std::vector<float>> reference;
            for (const bool almost : {true, false}) {
                for (const std::string& isa : available_isas()) {
                    for (const int threads : {1, 3}) {
                        PlanOptions options{"f32", isa};
                        options.threads.count = threads;
                        options.threads.smallest_part_bytes = 1;
                        const auto plan = std::make_shared<const Plan>(network(almost, reset, ih_share), options);
                        Stream stream(plan);
                        Random random(3);
                        for (std::size_t t = 0; t < 20; ++t) {
                            for (std::int64_t i = 0; i < inputs; ++i) stream.input(0)[i] = random.next();
                            if (t % 2) stream.prepare();
                            REQUIRE(stream.step() == Status::ok);
                            std::vector<float> now(stream.output(0), stream.output(0) + hidden);
                            now.insert(now.end(), stream.state(), stream.state() + plan->state_size());
                            if (reference.size() <= t) reference.push_back(now);
                            CHECK(now == reference[t]);   // a zero equals a negative one
                        }
                    }
                }
            }
        }
    }
}

TEST_CASE("what is left out is not stored, and the choice does not depend on the ISA") {
    const Plan whole(network(true)), left_out(network(false));
    CHECK(left_out.constant_bytes() < whole.constant_bytes() / 2);   // a fifth of the weights, and what pads and names them
    for (const std::string& isa : available_isas()) CHECK(Plan(network(false), PlanOptions{"f32", isa}).constant_bytes() == left_out.constant_bytes());
    // Scattered zeros make no block, and small matrices are left as they are.
    Random random(1);
    std::vector<float> scattered = random.vector(256 * 256);
    for (float& w : scattered)
        if (random.next() < 0.8f) w = 0;
    CHECK(!pays_sparse(scattered.data(), 1, 256, 256));
    const std::vector<float> nothing(256 * 256);
    CHECK(pays_sparse(nothing.data(), 1, 256, 256));
    CHECK(!pays_sparse(nothing.data(), 1, 32, 32));
}

TEST_CASE("a NaN or an infinity that meets only zeros comes out all the same") {
    Graph graph;
    graph.add_input("x", {256});
    const std::vector<float> nothing(256 * 256);
    graph.add_tensor("w", {256, 256}, nothing.data());
    graph.add_node({"linear", "linear", {"x", "w"}, {"y"}, {}});
    graph.add_output("y", "y");
    for (const std::string& isa : available_isas()) {
        for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
            for (const std::size_t at : {0, 100, 255}) {
                Stream stream(std::make_shared<const Plan>(graph, PlanOptions{"f32", isa}), OnNonFinite::propagate);
                stream.step();
                CHECK(stream.output(0)[0] == 0);
                stream.input(0)[at] = bad;
                stream.step();
                for (std::size_t i = 0; i < 256; ++i) CHECK(std::isnan(stream.output(0)[i]));
            }
        }
    }
}
