// rtrnn.h: bad numbers on every way in, hold_steps, limits, saved states and swaps.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "graph/file.hpp"
#include "networks.hpp"
#include "rtrnn/rtrnn.h"

using namespace rtrnn;
using namespace rtrnn::testing;

namespace {

using Floats = std::vector<float>;

// Two inputs, a (3) and b (2); two outputs, what a cell makes of both, and their sum over time.
Graph two_inputs(std::uint64_t seed = 1) {
    Random random(seed);
    Graph graph;
    graph.add_input("a", {3});
    graph.add_input("b", {2});
    graph.add_node({"concat", "join", {"a", "b"}, {"x"}, {{"axis", std::int64_t{0}}}});
    graph.add_output("y", add_cell(graph, random, "gru", "cell", "x", 4));
    graph.add_state("s", {5});
    graph.add_node({"add", "sum", {"s", "x"}, {"total"}, {}});
    graph.set_next("s", "total");
    graph.add_output("total", "total");
    return graph;
}

rtrnn_plan* plan_of(const Graph& graph, const char* limits = nullptr, const char* weights = nullptr) {
    const std::vector<char> bytes = serialize_graph(graph);
    rtrnn_options options = RTRNN_OPTIONS_INIT;
    options.limits = limits;
    options.weights = weights;
    rtrnn_plan* plan = nullptr;
    REQUIRE(rtrnn_plan_load_memory(bytes.data(), bytes.size(), &options, &plan) == RTRNN_OK);
    return plan;
}

rtrnn_stream* stream_of(rtrnn_plan* plan, rtrnn_on_nonfinite policy = RTRNN_ON_NONFINITE_ERROR) {
    rtrnn_stream* stream = nullptr;
    REQUIRE(rtrnn_stream_create(plan, policy, &stream) == RTRNN_OK);
    return stream;
}

std::vector<char> saved(const rtrnn_stream* stream) {
    std::vector<char> bytes(rtrnn_stream_saved_bytes(stream));
    REQUIRE(rtrnn_stream_save(stream, bytes.data(), bytes.size()) == RTRNN_OK);
    return bytes;
}

constexpr std::size_t x_size = 5, y_size = 9;
const Floats good{0.5f, -1, 2, 0.25f, -0.5f};

rtrnn_status step(rtrnn_stream* stream, const Floats& x, Floats& y) {
    std::memcpy(rtrnn_stream_input(stream, 0), x.data(), 3 * sizeof(float));
    std::memcpy(rtrnn_stream_input(stream, 1), x.data() + 3, 2 * sizeof(float));
    const rtrnn_status status = rtrnn_stream_step(stream);
    if (status <= RTRNN_HELD) {
        std::memcpy(y.data(), rtrnn_stream_output(stream, 0), 4 * sizeof(float));
        std::memcpy(y.data() + 4, rtrnn_stream_output(stream, 1), 5 * sizeof(float));
    }
    return status;
}

rtrnn_status step_copy(rtrnn_stream* stream, const Floats& x, Floats& y) {
    return rtrnn_stream_step_copy(stream, x.data(), x_size, y.data(), y_size);
}

rtrnn_status process(rtrnn_stream* stream, const Floats& x, Floats& y) {
    const rtrnn_const_span in[] = {{x.data(), 3}, {x.data() + 3, 2}};
    Floats made(y_size);
    const rtrnn_span out[] = {{made.data(), 4}, {made.data() + 4, 5}};
    std::size_t failed_at = 7;
    const rtrnn_status status = rtrnn_stream_process(stream, in, 2, out, 2, 1, &failed_at);
    if (status <= RTRNN_HELD) y = made;
    else CHECK(failed_at == 0);
    return status;
}

}  // namespace

TEST_CASE("C: a bad number in any input and element, by any call") {
    rtrnn_plan* plan = plan_of(two_inputs());
    for (const auto& take : {step, step_copy, process})
        for (const rtrnn_on_nonfinite policy : {RTRNN_ON_NONFINITE_ERROR, RTRNN_ON_NONFINITE_HOLD, RTRNN_ON_NONFINITE_PROPAGATE}) {
            rtrnn_stream* stream = stream_of(plan, policy);
            Floats y(y_size), first(y_size);
            CHECK(take(stream, good, first) == RTRNN_OK);
            const auto before = saved(stream);
            std::uint64_t count = 0;
            for (std::size_t i = 0; i < x_size; ++i)
                for (const float bad : {NAN, INFINITY, -INFINITY}) {
                    Floats x = good;
                    x[i] = bad;
                    y.assign(y_size, 42);
                    const rtrnn_status status = take(stream, x, y);
                    if (policy == RTRNN_ON_NONFINITE_PROPAGATE) {
                        CHECK(status == RTRNN_OK);
                        CHECK(!std::isfinite(y[4 + i]));
                        CHECK(rtrnn_stream_reset(stream) == RTRNN_OK);
                        continue;
                    }
                    const bool hold = policy == RTRNN_ON_NONFINITE_HOLD;
                    CHECK(status == (hold ? RTRNN_HELD : RTRNN_NONFINITE_INPUT));
                    CHECK(y == (hold ? first : Floats(y_size, 42)));
                    CHECK(rtrnn_stream_nonfinite_count(stream) == ++count);
                    CHECK(rtrnn_stream_held_in_a_row(stream) == (hold ? count : 0));
                    if (!hold) CHECK(saved(stream) == before);
                }
            if (policy == RTRNN_ON_NONFINITE_HOLD) {
                CHECK(rtrnn_stream_set_hold_steps(stream, count) == RTRNN_OK);
                CHECK(take(stream, {NAN, 0, 0, 0, 0}, y) == RTRNN_NONFINITE_INPUT);
                CHECK(take(stream, good, y) == RTRNN_OK);
                CHECK(rtrnn_stream_held_in_a_row(stream) == 0);
            }
            if (policy != RTRNN_ON_NONFINITE_PROPAGATE) {
                Floats large(x_size, 3e38f);
                rtrnn_stream_reset(stream);
                CHECK(take(stream, large, y) == RTRNN_OK);
                CHECK(take(stream, large, y) == (policy == RTRNN_ON_NONFINITE_HOLD ? RTRNN_HELD : RTRNN_NONFINITE_RESULT));
                CHECK(rtrnn_stream_state(stream)[4] == 3e38f);
            }
            rtrnn_stream_free(stream);
        }
    rtrnn_plan_free(plan);
}

TEST_CASE("C: saved states, swaps and their statuses") {
    rtrnn_plan *plan = plan_of(two_inputs()), *small = plan_of(two_inputs(), nullptr, "i16"), *trained = plan_of(two_inputs(2)),
               *other = plan_of(policy("gru"));
    CHECK(rtrnn_plan_structure(plan) == rtrnn_plan_structure(trained));
    CHECK(rtrnn_plan_fingerprint(plan) == rtrnn_plan_fingerprint(small));
    CHECK(rtrnn_plan_fingerprint(plan) != rtrnn_plan_fingerprint(trained));
    CHECK(rtrnn_plan_structure(plan) != rtrnn_plan_structure(other));
    rtrnn_stream *stream = stream_of(plan), *quick = stream_of(small), *further = stream_of(trained), *foreign = stream_of(other);
    Floats y(y_size), z(y_size);
    CHECK(step_copy(stream, good, y) == RTRNN_OK);
    auto bytes = saved(stream);
    CHECK(rtrnn_stream_restore(quick, bytes.data(), bytes.size()) == RTRNN_OK);
    CHECK(std::memcmp(rtrnn_stream_output(quick, 1), rtrnn_stream_output(stream, 1), 20) == 0);
    CHECK(rtrnn_stream_restore(further, bytes.data(), bytes.size()) == RTRNN_STATE_MISMATCH);
    CHECK(rtrnn_stream_restore_any_weights(further, bytes.data(), bytes.size()) == RTRNN_OK);
    CHECK(rtrnn_stream_restore_any_weights(foreign, bytes.data(), bytes.size()) == RTRNN_STATE_MISMATCH);
    CHECK(rtrnn_stream_restore(stream, bytes.data(), bytes.size() - 1) == RTRNN_STATE_DAMAGED);
    CHECK(rtrnn_stream_restore(stream, nullptr, bytes.size()) == RTRNN_INVALID_ARGUMENT);
    CHECK(rtrnn_stream_restore(nullptr, bytes.data(), bytes.size()) == RTRNN_INVALID_HANDLE);
    CHECK(rtrnn_stream_save(stream, bytes.data(), bytes.size() - 1) == RTRNN_INVALID_ARGUMENT);
    CHECK(std::string(rtrnn_status_text(RTRNN_STATE_DAMAGED)).find("damaged") != std::string::npos);

    CHECK(rtrnn_stream_swap(stream, foreign) == RTRNN_STATE_MISMATCH);
    CHECK(rtrnn_stream_swap(stream, nullptr) == RTRNN_INVALID_HANDLE);
    float* const input = rtrnn_stream_input(stream, 0);
    CHECK(rtrnn_stream_swap(stream, further) == RTRNN_OK);
    CHECK(rtrnn_stream_input(further, 0) == input);
    CHECK(rtrnn_stream_free(further) == RTRNN_OK);   // with the memory that the stream began with
    rtrnn_stream* expected = stream_of(trained);
    CHECK(rtrnn_stream_restore_any_weights(expected, bytes.data(), bytes.size()) == RTRNN_OK);
    CHECK(step_copy(stream, good, y) == RTRNN_OK);
    CHECK(step_copy(expected, good, z) == RTRNN_OK);
    CHECK(y == z);
    CHECK(rtrnn_stream_steps(stream) == 2);
    for (rtrnn_stream* each : {stream, quick, foreign, expected}) rtrnn_stream_free(each);
    for (rtrnn_plan* each : {plan, small, trained, other}) rtrnn_plan_free(each);
}

TEST_CASE("C: limits of outputs, of the file or in their place") {
    Graph graph = two_inputs();
    graph.metadata()["rtrnn.limits"] = R"({"total": {"max": 1}})";
    const std::vector<char> bytes = serialize_graph(graph);
    for (const auto& [limits, highest, count] : {std::tuple<const char*, float, std::uint64_t>{nullptr, 1, 1}, {"", 2, 0}, {R"({"total": {"max": 1.5}})", 1.5f, 1}}) {
        rtrnn_plan* plan = plan_of(graph, limits);
        rtrnn_stream* stream = stream_of(plan);
        rtrnn_batch* batch = nullptr;
        REQUIRE(rtrnn_batch_create(plan, 2, RTRNN_ON_NONFINITE_HOLD, &batch) == RTRNN_OK);
        Floats y(y_size), x2(good.begin(), good.begin() + 3), totals(10), ys(8);
        CHECK(step_copy(stream, good, y) == RTRNN_OK);
        CHECK(y[6] == highest);
        CHECK(rtrnn_stream_limited_count(stream) == count);
        x2.insert(x2.end(), {NAN, 0, 0});
        const Floats b(4);
        const rtrnn_const_span in[] = {{x2.data(), 6}, {b.data(), 4}};
        const rtrnn_span out[] = {{ys.data(), 8}, {totals.data(), 10}};
        CHECK(rtrnn_batch_set_hold_steps(batch, 1) == RTRNN_OK);
        CHECK(rtrnn_batch_step(batch, in, 2, out, 2, nullptr) == RTRNN_HELD);
        CHECK(totals[2] == highest);
        CHECK(rtrnn_batch_limited_count(batch, 0) == count);
        CHECK(rtrnn_batch_limited_count(batch, 1) == 0);
        CHECK(rtrnn_batch_step(batch, in, 2, out, 2, nullptr) == RTRNN_NONFINITE_INPUT);
        rtrnn_batch_free(batch);
        rtrnn_stream_free(stream);
        rtrnn_plan_free(plan);
    }
    rtrnn_options options = RTRNN_OPTIONS_INIT;
    rtrnn_plan* plan = nullptr;
    options.limits = R"({"total": {"maximum": 1}})";
    CHECK(rtrnn_plan_load_memory(bytes.data(), bytes.size(), &options, &plan) == RTRNN_INVALID_ARGUMENT);
    CHECK(std::string(rtrnn_last_error()).find("maximum") != std::string::npos);
    options.limits = nullptr;
    CHECK(rtrnn_plan_load_memory(bytes.data(), bytes.size(), &options, &plan) == RTRNN_OK);
    CHECK(rtrnn_plan_port_count(plan, RTRNN_STATE) == 3);   // with the count of limited timesteps
    rtrnn_plan_free(plan);
}
