// Threads: many streams of one plan at once, and one handle that two threads use, which is refused and not corrupted.
#include <doctest/doctest.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "graph/file.hpp"
#include "networks.hpp"
#include "rtrnn/rtrnn.h"
#include "stream/stream.hpp"

using namespace rtrnn;
using namespace rtrnn::testing;

TEST_CASE("streams of one plan on many threads give the bits of one thread") {
    const auto plan = std::make_shared<const Plan>(policy("lstm"));
    const auto run = [&] {
        Stream stream(plan);
        Random random(3);
        for (int t = 0; t < 300; ++t) {
            const auto x = random.vector(11);
            std::memcpy(stream.input(0), x.data(), x.size() * sizeof(float));
            stream.step();
            if (t % 3 == 0) stream.prepare();
        }
        return std::vector<float>(stream.state(), stream.state() + plan->state_size());
    };
    const std::vector<float> expected = run();
    std::vector<std::vector<float>> found(8);
    std::vector<std::thread> threads;
    for (auto& states : found) threads.emplace_back([&] { states = run(); });
    for (std::thread& thread : threads) thread.join();
    for (const auto& states : found) CHECK(std::memcmp(states.data(), expected.data(), expected.size() * sizeof(float)) == 0);
}

TEST_CASE("a stream that two threads use is refused to the second, and its state is that of the steps that were taken") {
    const Graph graph = policy("gru");
    const std::vector<char> file = serialize_graph(graph);
    rtrnn_plan* plan = nullptr;
    rtrnn_stream* stream = nullptr;
    REQUIRE(rtrnn_plan_load_memory(file.data(), file.size(), nullptr, &plan) == RTRNN_OK);
    REQUIRE(rtrnn_stream_create(plan, RTRNN_ON_NONFINITE_ERROR, &stream) == RTRNN_OK);
    constexpr std::size_t block = 64;
    const std::vector<float> xs(11 * block, 0.25f);
    std::atomic<int> waiting{2};
    std::atomic<bool> refused{false};
    std::atomic<std::uint64_t> taken{0}, wrong{0};
    const auto use = [&](bool blocks) {
        --waiting;
        while (waiting > 0) {
        }
        std::vector<float> ys(5 * block);
        const rtrnn_const_span in = {xs.data(), xs.size()};
        const rtrnn_span out = {ys.data(), ys.size()};
        for (int turn = 0; turn < 200 || (!refused && turn < 100000); ++turn) {
            const rtrnn_status status = blocks ? rtrnn_stream_process(stream, &in, 1, &out, 1, block, nullptr)
                                               : rtrnn_stream_step_copy(stream, xs.data(), 11, ys.data(), 5);
            if (status == RTRNN_OK) taken += blocks ? block : 1;
            else if (status == RTRNN_BUSY) refused = true;
            else ++wrong;
        }
    };
    std::thread first(use, true), second(use, false);
    first.join();
    second.join();
    CHECK(refused);
    CHECK(wrong == 0);
    CHECK(rtrnn_stream_steps(stream) == taken);

    Stream alone(std::make_shared<const Plan>(graph));
    std::memcpy(alone.input(0), xs.data(), 11 * sizeof(float));
    for (std::uint64_t t = 0; t < taken; ++t) alone.step();
    std::vector<float> state(rtrnn_stream_state_size(stream));
    CHECK(rtrnn_stream_get_state(stream, state.data(), state.size()) == RTRNN_OK);
    CHECK(std::memcmp(state.data(), alone.state(), state.size() * sizeof(float)) == 0);
    CHECK(rtrnn_stream_free(stream) == RTRNN_OK);
    rtrnn_plan_free(plan);
}
