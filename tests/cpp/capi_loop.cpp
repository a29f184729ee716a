#include <doctest/doctest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "capi/capi.hpp"
#include "networks.hpp"

using namespace rtrnn;
using namespace rtrnn::testing;

TEST_CASE("a loop through the C interface") {
    rtrnn_plan plan(std::make_shared<const Plan>(policy("gru")));
    rtrnn_stream* stream = nullptr;
    REQUIRE(rtrnn_stream_create(&plan, RTRNN_ON_NONFINITE_ERROR, &stream) == RTRNN_OK);
    rtrnn_loop* loop = nullptr;
    const std::vector<float> watchdog(5, 3.0f), x(11, 0.5f);
    rtrnn_loop_options options;
    CHECK(rtrnn_loop_options_init(&options, sizeof options) == RTRNN_OK);
    CHECK(options.struct_size == sizeof options);
    CHECK(options.period_ns == 1'000'000);
    CHECK(options.cpu == -1);
    options.watchdog = watchdog.data();
    options.watchdog_size = 4;
    CHECK(rtrnn_loop_create(stream, &options, &loop) == RTRNN_INVALID_ARGUMENT);
    CHECK(loop == nullptr);
    CHECK(std::string(rtrnn_last_error()).find("watchdog") != std::string::npos);
    options.watchdog_size = 5;
    REQUIRE(rtrnn_loop_create(stream, &options, &loop) == RTRNN_OK);
    rtrnn_stream_free(stream);   // the loop has its own
    CHECK(rtrnn_loop_input_size(loop) == 11);
    CHECK(rtrnn_loop_output_size(loop) == 5);

    std::vector<float> y(5);
    rtrnn_loop_action_info info;
    CHECK(rtrnn_loop_action(loop, y.data(), 5, &info) == RTRNN_OK);
    CHECK(info.sequence == 0);
    CHECK(rtrnn_loop_observe(loop, x.data(), 10) == RTRNN_INVALID_ARGUMENT);
    CHECK(rtrnn_loop_action(loop, y.data(), 6, &info) == RTRNN_INVALID_ARGUMENT);
    CHECK(rtrnn_loop_start(loop) == RTRNN_OK);
    CHECK(rtrnn_loop_start(loop) == RTRNN_INVALID_ARGUMENT);
    CHECK(rtrnn_loop_running(loop) == 1);
    CHECK(std::string(rtrnn_loop_notes(loop)).empty());
    CHECK(rtrnn_loop_observe(loop, x.data(), 11) == RTRNN_OK);
    do {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        REQUIRE(rtrnn_loop_action(loop, y.data(), 5, &info) == RTRNN_OK);
    } while (info.watchdog || info.sequence < 10);
    CHECK(info.status == RTRNN_OK);
    CHECK(rtrnn_loop_stop(loop) == RTRNN_OK);
    CHECK(rtrnn_loop_running(loop) == 0);

    rtrnn_loop_counters counters;
    rtrnn_loop_times times;
    std::vector<std::uint64_t> counts(rtrnn_histogram_buckets());
    REQUIRE(rtrnn_loop_get_counters(loop, &counters) == RTRNN_OK);
    REQUIRE(rtrnn_loop_get_times(loop, RTRNN_LOOP_STEP, &times, counts.data()) == RTRNN_OK);
    CHECK(counters.periods == counters.stale + times.count);
    CHECK(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}) == times.count);
    CHECK(times.min_ns <= times.p50_ns);
    CHECK(times.p9999_ns <= times.max_ns);
    CHECK(rtrnn_loop_get_times(loop, RTRNN_LOOP_PREPARE, &times, nullptr) == RTRNN_OK);
    CHECK(rtrnn_histogram_upper_ns(100) == 100);
    CHECK(rtrnn_loop_reset(loop) == RTRNN_OK);
    rtrnn_loop_free(loop);
}

TEST_CASE("misuse of a loop is refused") {
    rtrnn_loop_counters counters;
    rtrnn_loop_times times;
    float value = 0;
    rtrnn_loop* loop = nullptr;
    CHECK(rtrnn_loop_create(nullptr, nullptr, &loop) == RTRNN_INVALID_HANDLE);
    CHECK(rtrnn_loop_start(nullptr) == RTRNN_INVALID_HANDLE);
    CHECK(rtrnn_loop_stop(nullptr) == RTRNN_INVALID_HANDLE);
    CHECK(rtrnn_loop_observe(nullptr, &value, 1) == RTRNN_INVALID_HANDLE);
    CHECK(rtrnn_loop_action(nullptr, &value, 1, nullptr) == RTRNN_INVALID_HANDLE);
    CHECK(rtrnn_loop_reset(nullptr) == RTRNN_INVALID_HANDLE);
    CHECK(rtrnn_loop_get_counters(nullptr, &counters) == RTRNN_INVALID_HANDLE);
    CHECK(rtrnn_loop_get_times(nullptr, RTRNN_LOOP_STEP, &times, nullptr) == RTRNN_INVALID_HANDLE);
    CHECK(rtrnn_loop_running(nullptr) == 0);
    CHECK(rtrnn_loop_input_size(nullptr) == 0);
    rtrnn_loop_free(nullptr);
    CHECK(rtrnn_loop_options_init(nullptr, sizeof(rtrnn_loop_options)) == RTRNN_INVALID_ARGUMENT);

    rtrnn_plan plan(std::make_shared<const Plan>(policy("rnn")));
    rtrnn_stream* stream = nullptr;
    REQUIRE(rtrnn_stream_create(&plan, RTRNN_ON_NONFINITE_ERROR, &stream) == RTRNN_OK);
    rtrnn_loop_options options{};   // not initialised
    CHECK(rtrnn_loop_create(stream, &options, &loop) == RTRNN_INVALID_ARGUMENT);
    CHECK(loop == nullptr);
    CHECK(rtrnn_loop_options_init(&options, sizeof options) == RTRNN_OK);
    options.period_ns = -5;
    CHECK(rtrnn_loop_create(stream, &options, &loop) == RTRNN_INVALID_ARGUMENT);
    CHECK(loop == nullptr);
    CHECK(std::string(rtrnn_last_error()).find("period") != std::string::npos);
    REQUIRE(rtrnn_loop_create(stream, nullptr, &loop) == RTRNN_OK);
    CHECK(rtrnn_loop_get_counters(loop, nullptr) == RTRNN_INVALID_ARGUMENT);
    CHECK(rtrnn_loop_get_times(loop, static_cast<rtrnn_loop_time>(99), &times, nullptr) == RTRNN_INVALID_ARGUMENT);
    rtrnn_loop_free(loop);
    rtrnn_stream_free(stream);
}
