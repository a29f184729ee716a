#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/dispatch.hpp"
#include "networks.hpp"
#include "stream/stream.hpp"

using namespace rtrnn;
using namespace rtrnn::testing;

namespace {

std::vector<float> output_of(const Stream& stream) { return {stream.output(0), stream.output(0) + stream.plan().outputs()[0].size}; }
std::vector<float> state_of(const Stream& stream) { return {stream.state(), stream.state() + stream.plan().state_size()}; }

std::vector<float> step(Stream& stream, const std::vector<float>& x) {
    std::memcpy(stream.input(0), x.data(), x.size() * sizeof(float));
    CHECK(stream.step() == Status::ok);
    return output_of(stream);
}

std::vector<std::vector<float>> trajectory(std::size_t steps, std::size_t size, float scale = 1) {
    Random random(77);
    std::vector<std::vector<float>> xs;
    for (std::size_t i = 0; i < steps; ++i) xs.push_back(random.vector(size, scale));
    return xs;
}

}  // namespace

TEST_CASE("step, prepare then step, process and a fork give the same bits on every ISA") {
    for (const char* op : {"rnn", "gru", "lstm"}) {
        const Graph graph = policy(op);
        const auto xs = trajectory(50, 11);
        std::vector<std::vector<float>> reference;
        for (const std::string& isa : available_isas()) {
            const auto plan = std::make_shared<const Plan>(graph, PlanOptions{"f32", isa});
            CHECK(plan->kernels().name == isa);
            CHECK(plan->prepare_calls().size() == 2);   // the recurrent products of both layers, the second one's included
            CHECK(plan->finish_calls().size() == plan->step_calls().size());
            Stream plain(plan), prepared(plan), block(plan);
            std::vector<float> flat_x, flat_y(50 * 5);
            for (std::size_t t = 0; t < xs.size(); ++t) {
                const std::vector<float> y = step(plain, xs[t]);
                if (reference.size() <= t) reference.push_back(y);
                CHECK(y == reference[t]);
                prepared.prepare();
                if (t % 3 == 0) prepared.prepare();   // once more changes nothing
                CHECK(step(prepared, xs[t]) == y);
                flat_x.insert(flat_x.end(), xs[t].begin(), xs[t].end());
                if (t == 20) {
                    Stream twin(plain);
                    CHECK(state_of(twin) == state_of(plain));
                    step(twin, xs[0]);
                    CHECK(state_of(twin) != state_of(plain));
                }
            }
            const float* in = flat_x.data();
            float* out = flat_y.data();
            CHECK(block.process(&in, &out, 50, nullptr) == Status::ok);
            for (std::size_t t = 0; t < 50; ++t) CHECK(std::memcmp(out + 5 * t, reference[t].data(), 20) == 0);
            CHECK(state_of(block) == state_of(plain));
        }
    }
}

TEST_CASE("bad input leaves outputs and state as they were") {
    const auto plan = std::make_shared<const Plan>(policy("gru"));
    const auto xs = trajectory(10, 11);
    Stream stream(plan);
    for (const auto& x : xs) step(stream, x);
    const auto state = state_of(stream), output = output_of(stream);
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
        for (std::size_t i = 0; i < 11; ++i) {
            std::memcpy(stream.input(0), xs[0].data(), 11 * sizeof(float));
            stream.input(0)[i] = bad;
            if (i % 2) stream.prepare();
            CHECK(stream.step() == Status::nonfinite_input);
            CHECK(state_of(stream) == state);
            CHECK(output_of(stream) == output);
        }
    }
    CHECK(stream.nonfinite_count() == 33);
    CHECK(stream.steps() == 10);
    Stream untouched(plan);
    for (const auto& x : xs) step(untouched, x);
    CHECK(step(stream, xs[3]) == step(untouched, xs[3]));
}

TEST_CASE("hold repeats the last output and counts; propagate lets a NaN through") {
    const auto plan = std::make_shared<const Plan>(policy("lstm"));
    const auto xs = trajectory(3, 11);
    Stream holding(plan, OnNonFinite::hold), open(plan, OnNonFinite::propagate);
    const auto y = step(holding, xs[0]);
    step(open, xs[0]);
    for (Stream* stream : {&holding, &open}) stream->input(0)[4] = NAN;
    CHECK(holding.step() == Status::held);
    CHECK(output_of(holding) == y);
    CHECK(holding.nonfinite_count() == 1);
    CHECK(open.step() == Status::ok);
    CHECK(std::isnan(output_of(open)[0]));
}

TEST_CASE("an overflow inside the network is reported and the state stays the last good one") {
    Graph graph;
    graph.add_input("x", {1});
    graph.add_state("s", {1});
    graph.add_node({"add", "sum", {"s", "x"}, {"total"}, {}});
    graph.set_next("s", "total");
    graph.add_output("y", "total");
    Stream stream(std::make_shared<const Plan>(graph));
    CHECK(step(stream, {3e38f})[0] == 3e38f);
    stream.input(0)[0] = 3e38f;
    CHECK(stream.step() == Status::nonfinite_result);
    CHECK(state_of(stream)[0] == 3e38f);
    CHECK(output_of(stream)[0] == 3e38f);
    CHECK(step(stream, {-1e38f})[0] == 3e38f - 1e38f);
}

TEST_CASE("reset, set_state and a failed process") {
    Graph graph = policy("gru");
    const auto plan = std::make_shared<const Plan>(graph);
    const auto xs = trajectory(6, 11);
    Stream stream(plan);
    const auto first = step(stream, xs[0]);
    const auto saved = state_of(stream);
    const auto second = step(stream, xs[1]);
    stream.prepare();   // what it computed ahead must not outlive the state it was computed from
    CHECK(stream.set_state(saved.data()));
    CHECK(step(stream, xs[1]) == second);
    stream.prepare();
    stream.reset();
    CHECK(output_of(stream) == std::vector<float>(5, 0.0f));
    CHECK(step(stream, xs[0]) == first);

    std::vector<float> bad = saved;
    bad.back() = INFINITY;
    const auto before = state_of(stream);
    CHECK(!stream.set_state(bad.data()));
    CHECK(state_of(stream) == before);

    std::vector<float> flat;
    for (const auto& x : xs) flat.insert(flat.end(), x.begin(), x.end());
    flat[4 * 11 + 2] = NAN;
    std::vector<float> out(6 * 5);
    const float* in = flat.data();
    float* to = out.data();
    std::size_t failed_at = 99;
    CHECK(stream.process(&in, &to, 6, &failed_at) == Status::nonfinite_input);
    CHECK(failed_at == 4);
    CHECK(state_of(stream) == before);
    CHECK(stream.steps() == 4);
}

TEST_CASE("an initial state that is not zero") {
    Graph graph;
    const float initial[3] = {1.5f, -2.0f, 0.25f};
    graph.add_input("x", {3});
    graph.add_tensor("start", {3}, initial);
    graph.add_state("s", {3}, "start");
    graph.set_next("s", "x");
    graph.add_output("y", "s");
    Stream stream(std::make_shared<const Plan>(graph));
    CHECK(step(stream, {7, 8, 9}) == std::vector<float>{1.5f, -2.0f, 0.25f});
    CHECK(step(stream, {1, 1, 1}) == std::vector<float>{7, 8, 9});
    stream.prepare();   // writes the coming output ahead, which must not show before the step
    CHECK(output_of(stream) == std::vector<float>{7, 8, 9});
    stream.reset();
    CHECK(step(stream, {7, 8, 9})[1] == -2.0f);
}

// Odd steps have arguments of their own: the places of the states swapped and, when the weights do not fit the first cache level, the tiles
// walked backwards. A reset makes the next step an even one, so the reference takes even steps only.
TEST_CASE("even and odd steps give the same bits, however they are taken") {
    for (const char* cell : {"gru", "lstm", "rnn"}) {
        Graph graph;
        Random random(5);
        graph.add_input("x", {40});
        graph.add_output("y", add_cell(graph, random, cell, "cell", "x", 150));
        for (const std::string& isa : available_isas())
            for (const char* weights : {"f32", "i16", "bf16"}) {
                CAPTURE(isa);
                CAPTURE(weights);
                const auto plan = std::make_shared<const Plan>(graph, PlanOptions{weights, isa});
                Stream even(plan);
                auto plain = std::make_unique<Stream>(plan), mixed = std::make_unique<Stream>(plan);
                const auto xs = trajectory(isa == "scalar" ? 40 : 1000, 40);
                bool same = true;
                for (std::size_t t = 0; t < xs.size(); ++t) {
                    const auto y = step(even, xs[t]);
                    const auto state = state_of(even);
                    even.reset();
                    even.set_state(state.data());
                    same = same && step(*plain, xs[t]) == y && state_of(*plain) == state;
                    if (t % 3 == 1) mixed->prepare();
                    if (t % 7 == 5) {   // a refused step must not change whose turn it is
                        mixed->input(0)[3] = NAN;
                        CHECK(mixed->step() == Status::nonfinite_input);
                    }
                    std::vector<float> out(y.size());
                    if (t % 2) {
                        CHECK(mixed->step(xs[t].data(), out.data()) == Status::ok);
                        same = same && out == y;
                    } else {
                        same = same && step(*mixed, xs[t]) == y;
                    }
                    same = same && state_of(*mixed) == state && output_of(*mixed) == y;
                    if (t % 11 == 4) mixed = std::make_unique<Stream>(*mixed);
                    if (t % 13 == 6) {
                        mixed->checkpoint();
                        step(*mixed, xs[0]);
                        mixed->rollback();
                        same = same && state_of(*mixed) == state && output_of(*mixed) == y;
                    }
                }
                CHECK(same);
            }
    }
}
