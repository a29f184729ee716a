#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "graph/file.hpp"
#include "networks.hpp"
#include "rtrnn/rtrnn.h"
#include "stream/stream.hpp"

using namespace rtrnn;
using namespace rtrnn::testing;

TEST_CASE("the C interface steps like the C++ one") {
    const Graph graph = policy("gru");
    const std::string path = "capi_test.rtrnn";
    save_graph(graph, path);
    rtrnn_plan* plan = nullptr;
    rtrnn_stream* stream = nullptr;
    rtrnn_batch* batch = nullptr;
    REQUIRE(rtrnn_plan_load(path.c_str(), nullptr, &plan) == RTRNN_OK);
    REQUIRE(rtrnn_stream_create(plan, RTRNN_ON_NONFINITE_ERROR, &stream) == RTRNN_OK);
    REQUIRE(rtrnn_batch_create(plan, 3, RTRNN_ON_NONFINITE_ERROR, &batch) == RTRNN_OK);
    CHECK(rtrnn_plan_free(plan) == RTRNN_OK);   // streams keep what they need
    std::remove(path.c_str());
    CHECK(rtrnn_stream_input_count(stream) == 1);
    CHECK(rtrnn_stream_input_size(stream, 0) == 11);
    CHECK(rtrnn_stream_output_size(stream, 0) == 5);
    CHECK(rtrnn_stream_state_size(stream) == 42);

    Stream twin(std::make_shared<const Plan>(graph));
    Random random(8);
    std::vector<float> y(5), rows(15);
    for (int t = 0; t < 20; ++t) {
        const auto x = random.vector(11);
        std::vector<float> xs;
        for (int i = 0; i < 3; ++i) xs.insert(xs.end(), x.begin(), x.end());
        if (t % 2) rtrnn_stream_prepare(stream), rtrnn_batch_prepare(batch);
        CHECK(rtrnn_stream_step_copy(stream, x.data(), 11, y.data(), 5) == RTRNN_OK);
        std::memcpy(twin.input(0), x.data(), 11 * sizeof(float));
        CHECK(twin.step() == Status::ok);
        CHECK(std::memcmp(y.data(), twin.output(0), 20) == 0);
        const rtrnn_const_span in = {xs.data(), xs.size()};
        const rtrnn_span out = {rows.data(), rows.size()};
        CHECK(rtrnn_batch_step(batch, &in, 1, &out, 1, nullptr) == RTRNN_OK);
        for (int i = 0; i < 3; ++i) CHECK(std::memcmp(rows.data() + 5 * i, y.data(), 20) == 0);
    }
    // One bad row leaves every stream of the batch as it was.
    std::vector<float> xs(33, 0.5f), before(42), after(42);
    CHECK(rtrnn_batch_get_state(batch, 0, before.data(), 42) == RTRNN_OK);
    xs[2 * 11 + 1] = NAN;
    const rtrnn_const_span in = {xs.data(), xs.size()};
    const rtrnn_span out = {rows.data(), rows.size()};
    std::size_t failed_at = 0;
    CHECK(rtrnn_batch_step(batch, &in, 1, &out, 1, &failed_at) == RTRNN_NONFINITE_INPUT);
    CHECK(failed_at == 2);
    CHECK(rtrnn_batch_get_state(batch, 0, after.data(), 42) == RTRNN_OK);
    CHECK(before == after);
    CHECK(rtrnn_batch_set_state(batch, 2, rtrnn_stream_state(stream), 42) == RTRNN_OK);
    // What a stream saved, one of a batch restores, and the other way round.
    std::vector<char> saved(rtrnn_stream_saved_bytes(stream)), again(rtrnn_batch_saved_bytes(batch));
    CHECK(rtrnn_stream_save(stream, saved.data(), saved.size()) == RTRNN_OK);
    CHECK(rtrnn_batch_restore(batch, 1, saved.data(), saved.size()) == RTRNN_OK);
    CHECK(rtrnn_batch_save(batch, 1, again.data(), again.size()) == RTRNN_OK);
    CHECK(saved == again);
    CHECK(rtrnn_batch_reset(batch, 0) == RTRNN_OK);
    CHECK(rtrnn_batch_save(batch, 0, again.data(), again.size()) == RTRNN_OK);
    CHECK(saved != again);
    CHECK(rtrnn_batch_reset(batch, 2) == RTRNN_OK);
    CHECK(rtrnn_batch_get_state(batch, 2, after.data(), 42) == RTRNN_OK);
    CHECK(after == std::vector<float>(42));

    rtrnn_stream* fork = nullptr;
    REQUIRE(rtrnn_stream_fork(stream, &fork) == RTRNN_OK);
    rtrnn_stream_reset(stream);
    CHECK(rtrnn_stream_state(stream)[0] == 0);
    CHECK(rtrnn_stream_state(fork)[0] != 0);
    CHECK(rtrnn_stream_set_state(stream, rtrnn_stream_state(fork), 42) == RTRNN_OK);
    CHECK(rtrnn_stream_steps(fork) == 20);
    rtrnn_stream_free(fork);
    rtrnn_stream_free(stream);
    rtrnn_batch_free(batch);
}

TEST_CASE("threads keep the bits, delta updates have states of their own") {
    Random random(9);
    Graph graph;
    graph.add_input("x", {64});
    graph.add_output("y", add_cell(graph, random, "gru", "gru", "x", 256));
    const std::string path = "capi_threads.rtrnn";
    save_graph(graph, path);
    const auto stream_of = [&](const rtrnn_options& options) {
        rtrnn_plan* plan = nullptr;
        rtrnn_stream* stream = nullptr;
        REQUIRE(rtrnn_plan_load(path.c_str(), &options, &plan) == RTRNN_OK);
        REQUIRE(rtrnn_stream_create(plan, RTRNN_ON_NONFINITE_ERROR, &stream) == RTRNN_OK);
        CHECK(rtrnn_plan_free(plan) == RTRNN_OK);
        return stream;
    };
    const std::int32_t cpu = 0;
    const double threshold = 0.125;
    rtrnn_options divided = RTRNN_OPTIONS_INIT, delta = RTRNN_OPTIONS_INIT;
    divided.threads = 2;
    divided.cpus = &cpu;
    divided.spin_ms = 1;
    delta.delta = &threshold;
    rtrnn_stream* const streams[] = {stream_of(RTRNN_OPTIONS_INIT), stream_of(divided), stream_of(delta)};
    CHECK(rtrnn_stream_state_size(streams[1]) == 256);
    CHECK(rtrnn_stream_state_size(streams[2]) > 256);
    CHECK(rtrnn_stream_memory_bytes(streams[1]) > rtrnn_stream_memory_bytes(streams[0]));   // of the worker
    std::vector<float> y[3] = {std::vector<float>(256), std::vector<float>(256), std::vector<float>(256)};
    for (int t = 0; t < 50; ++t) {
        const auto x = random.vector(64);
        for (int i = 0; i < 3; ++i) CHECK(rtrnn_stream_step_copy(streams[i], x.data(), 64, y[i].data(), 256) == RTRNN_OK);
        CHECK(std::memcmp(y[0].data(), y[1].data(), 1024) == 0);
        CHECK(std::memcmp(y[0].data(), y[2].data(), 1024) != 0);
    }
    for (rtrnn_stream* stream : streams) CHECK(rtrnn_stream_free(stream) == RTRNN_OK);
    std::remove(path.c_str());
}

TEST_CASE("a failed load gives a status, NULL and a message") {
    rtrnn_plan* plan = reinterpret_cast<rtrnn_plan*>(1);
    CHECK(rtrnn_plan_load("/nonexistent.rtrnn", nullptr, &plan) == RTRNN_IO);
    CHECK(plan == nullptr);
    CHECK(std::string(rtrnn_last_error()).find("/nonexistent.rtrnn") != std::string::npos);
}
