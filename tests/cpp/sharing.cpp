// Threads: many streams of one plan at once, and one handle that two threads use, which is refused and not corrupted.
#include <doctest/doctest.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "capi/capi.hpp"
#include "graph/file.hpp"
#include "networks.hpp"

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

// Every function of rtrnn.h that answers with a status and takes a stream or a batch is here (tests/python/test_sharing.py compares).
TEST_CASE("every call on a stream or a batch that is in use is refused and does nothing") {
    rtrnn_plan plan(std::make_shared<const Plan>(policy("lstm")));
    rtrnn_stream *stream = nullptr, *other = nullptr;
    rtrnn_batch* batch = nullptr;
    REQUIRE(rtrnn_stream_create(&plan, RTRNN_ON_NONFINITE_HOLD, &stream) == RTRNN_OK);
    REQUIRE(rtrnn_stream_create(&plan, RTRNN_ON_NONFINITE_HOLD, &other) == RTRNN_OK);
    REQUIRE(rtrnn_batch_create(&plan, 2, RTRNN_ON_NONFINITE_HOLD, &batch) == RTRNN_OK);
    const std::vector<float> x(2 * 11, 0.5f);
    std::vector<float> y(2 * 5), state(rtrnn_stream_state_size(stream), 0.5f);
    std::vector<char> saved(rtrnn_stream_saved_bytes(stream));
    REQUIRE(rtrnn_stream_save(stream, saved.data(), saved.size()) == RTRNN_OK);
    const rtrnn_const_span in{x.data(), x.size()};
    const rtrnn_span out{y.data(), y.size()};
    rtrnn_stream* fork = nullptr;
    rtrnn_batch* twin = nullptr;
    rtrnn_loop* loop = nullptr;

    const auto calls_on_the_stream = [&](rtrnn_status expected) {
        CHECK(rtrnn_stream_step(stream) == expected);
        CHECK(rtrnn_stream_step_copy(stream, x.data(), 11, y.data(), 5) == expected);
        CHECK(rtrnn_stream_prepare(stream) == expected);
        CHECK(rtrnn_stream_reset(stream) == expected);
        CHECK(rtrnn_stream_reserve(stream) == expected);
        CHECK(rtrnn_stream_process(stream, &in, 1, &out, 1, 2, nullptr) == expected);
        CHECK(rtrnn_stream_get_state(stream, state.data(), state.size()) == expected);
        CHECK(rtrnn_stream_set_state(stream, state.data(), state.size()) == expected);
        CHECK(rtrnn_stream_save(stream, saved.data(), saved.size()) == expected);
        CHECK(rtrnn_stream_restore(stream, saved.data(), saved.size()) == expected);
        CHECK(rtrnn_stream_restore_any_weights(stream, saved.data(), saved.size()) == expected);
        CHECK(rtrnn_stream_swap(stream, other) == expected);
        CHECK(rtrnn_stream_swap(other, stream) == expected);
        CHECK(rtrnn_stream_set_hold_steps(stream, 3) == expected);
        CHECK(rtrnn_stream_fork(stream, &fork) == expected);
        CHECK(rtrnn_loop_create(stream, nullptr, &loop) == expected);
    };
    const auto calls_on_the_batch = [&](rtrnn_status expected) {
        CHECK(rtrnn_batch_step(batch, &in, 1, &out, 1, nullptr) == expected);
        CHECK(rtrnn_batch_prepare(batch) == expected);
        CHECK(rtrnn_batch_reset(batch, 1) == expected);
        CHECK(rtrnn_batch_get_state(batch, 1, state.data(), state.size()) == expected);
        CHECK(rtrnn_batch_set_state(batch, 1, state.data(), state.size()) == expected);
        CHECK(rtrnn_batch_save(batch, 1, saved.data(), saved.size()) == expected);
        CHECK(rtrnn_batch_restore(batch, 1, saved.data(), saved.size()) == expected);
        CHECK(rtrnn_batch_set_hold_steps(batch, 3) == expected);
        CHECK(rtrnn_batch_fork(batch, &twin) == expected);
    };

    REQUIRE(stream->busy.enter());   // as if a thread were in
    REQUIRE(batch->busy.enter());
    const std::vector<float> before(stream->stream.state(), stream->stream.state() + state.size());
    calls_on_the_stream(RTRNN_BUSY);
    calls_on_the_batch(RTRNN_BUSY);
    CHECK(rtrnn_stream_free(stream) == RTRNN_BUSY);
    CHECK(rtrnn_batch_free(batch) == RTRNN_BUSY);
    CHECK(fork == nullptr);
    CHECK(twin == nullptr);
    CHECK(loop == nullptr);
    CHECK(y == std::vector<float>(y.size()));
    CHECK(state == std::vector<float>(state.size(), 0.5f));
    CHECK(rtrnn_stream_steps(stream) == 0);   // counters are for any thread
    CHECK(std::memcmp(before.data(), stream->stream.state(), before.size() * sizeof(float)) == 0);
    CHECK(stream->stream.hold_steps() == 0);
    CHECK(rtrnn_stream_step(other) == RTRNN_OK);   // a refused swap has let go of it

    stream->busy.leave();
    batch->busy.leave();
    calls_on_the_stream(RTRNN_OK);
    calls_on_the_batch(RTRNN_OK);
    CHECK(rtrnn_loop_free(loop) == RTRNN_OK);
    for (rtrnn_stream* one : {stream, other, fork}) CHECK(rtrnn_stream_free(one) == RTRNN_OK);
    for (rtrnn_batch* one : {batch, twin}) CHECK(rtrnn_batch_free(one) == RTRNN_OK);
}

TEST_CASE("two threads that hand observations to one loop: each is taken whole or refused") {
    rtrnn_plan plan(std::make_shared<const Plan>(policy("gru")));
    rtrnn_stream* stream = nullptr;
    rtrnn_loop* loop = nullptr;
    REQUIRE(rtrnn_stream_create(&plan, RTRNN_ON_NONFINITE_ERROR, &stream) == RTRNN_OK);
    REQUIRE(rtrnn_loop_create(stream, nullptr, &loop) == RTRNN_OK);
    REQUIRE(rtrnn_loop_start(loop) == RTRNN_OK);
    std::atomic<int> refused{0}, wrong{0};
    const auto observe = [&](float value) {
        const std::vector<float> x(11, value);
        for (int turn = 0; turn < 2000 || (refused == 0 && turn < 5000000); ++turn) {
            const rtrnn_status status = rtrnn_loop_observe(loop, x.data(), x.size());
            if (status == RTRNN_BUSY) ++refused;
            else if (status != RTRNN_OK) ++wrong;
        }
    };
    std::thread first(observe, 0.25f), second(observe, -0.25f);
    first.join();
    second.join();
    CHECK(refused > 0);
    CHECK(wrong == 0);
    CHECK(rtrnn_loop_free(loop) == RTRNN_OK);
    CHECK(rtrnn_stream_free(stream) == RTRNN_OK);
}
