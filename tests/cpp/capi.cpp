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
    rtrnn_plan* plan = rtrnn_plan_load(path.c_str(), nullptr, nullptr);
    REQUIRE(plan != nullptr);
    rtrnn_stream* stream = rtrnn_stream_create(plan, RTRNN_ON_NONFINITE_ERROR);
    rtrnn_batch* batch = rtrnn_batch_create(plan, 3, RTRNN_ON_NONFINITE_ERROR);
    rtrnn_plan_free(plan);   // streams keep what they need
    REQUIRE(stream != nullptr);
    REQUIRE(batch != nullptr);
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
        CHECK(rtrnn_stream_step_copy(stream, x.data(), y.data()) == RTRNN_OK);
        std::memcpy(twin.input(0), x.data(), 11 * sizeof(float));
        CHECK(twin.step() == Status::ok);
        CHECK(std::memcmp(y.data(), twin.output(0), 20) == 0);
        const float* in = xs.data();
        float* out = rows.data();
        CHECK(rtrnn_batch_step(batch, &in, &out, nullptr) == RTRNN_OK);
        for (int i = 0; i < 3; ++i) CHECK(std::memcmp(out + 5 * i, y.data(), 20) == 0);
    }
    // One bad row leaves every stream of the batch as it was.
    std::vector<float> xs(33, 0.5f), before(rtrnn_batch_state(batch, 0), rtrnn_batch_state(batch, 0) + 42);
    xs[2 * 11 + 1] = NAN;
    const float* in = xs.data();
    float* out = rows.data();
    std::size_t failed_at = 0;
    CHECK(rtrnn_batch_step(batch, &in, &out, &failed_at) == RTRNN_NONFINITE_INPUT);
    CHECK(failed_at == 2);
    CHECK(std::memcmp(before.data(), rtrnn_batch_state(batch, 0), 42 * sizeof(float)) == 0);

    rtrnn_stream* fork = rtrnn_stream_fork(stream);
    rtrnn_stream_reset(stream);
    CHECK(rtrnn_stream_state(stream)[0] == 0);
    CHECK(rtrnn_stream_state(fork)[0] != 0);
    CHECK(rtrnn_stream_set_state(stream, rtrnn_stream_state(fork)) == RTRNN_OK);
    CHECK(rtrnn_stream_steps(fork) == 20);
    rtrnn_stream_free(fork);
    rtrnn_stream_free(stream);
    rtrnn_batch_free(batch);
}

TEST_CASE("a failed load gives NULL and a message") {
    CHECK(rtrnn_plan_load("/nonexistent.rtrnn", nullptr, nullptr) == nullptr);
    CHECK(std::string(rtrnn_last_error()).find("/nonexistent.rtrnn") != std::string::npos);
}
