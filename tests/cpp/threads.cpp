// Several threads for one step: the parts of large calls, and the workers that compute them.
#include <doctest/doctest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>

#if defined(__unix__)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "error.hpp"
#include "kernels/dispatch.hpp"
#include "networks.hpp"
#include "stream/stream.hpp"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RTRNN_THREAD_SANITIZER
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define RTRNN_THREAD_SANITIZER
#endif

using namespace rtrnn;
using namespace rtrnn::testing;

namespace {

PlanOptions with_threads(int count, const std::string& weights = "f32", const std::string& isa = "", double spin_ms = 5) {
    PlanOptions options{weights, isa};
    options.threads.count = count;
    options.threads.spin_ms = spin_ms;
    options.threads.smallest_part_bytes = 1;   // everything that can be divided is
    return options;
}

// Layers of every kind that can be divided, with a last tile that is not whole, and one that cannot be (reset before).
Graph layers(std::int64_t hidden) {
    Random random(9);
    Graph graph;
    graph.add_input("x", {13});
    std::string value = "x";
    value = add_cell(graph, random, "gru", "gru", value, hidden);
    value = add_cell(graph, random, "gru", "before", value, 20, {{"reset", std::string("before")}});
    value = add_cell(graph, random, "lstm", "lstm", value, hidden + 5);
    value = add_cell(graph, random, "rnn", "rnn", value, hidden);
    add_random_tensor(graph, random, "projection.weight_ih", {4 * hidden, hidden});
    add_random_tensor(graph, random, "projection.weight_hh", {4 * hidden, 33}, 0.1f);
    add_random_tensor(graph, random, "projection.weight_hr", {33, hidden});
    add_random_tensor(graph, random, "projection.peephole", {3 * hidden});
    graph.add_state("p.h", {33});
    graph.add_state("p.c", {hidden});
    graph.add_node({"lstm", "projection", {value, "p.h", "p.c", "projection.weight_ih", "projection.weight_hh", "", "", "projection.weight_hr", "projection.peephole"}, {"p.h_next", "p.c_next"}, {}});
    graph.set_next("p.h", "p.h_next");
    graph.set_next("p.c", "p.c_next");
    add_random_tensor(graph, random, "head.weight", {70, 33});
    add_random_tensor(graph, random, "head.bias", {70});
    graph.add_node({"linear", "head", {"p.h_next", "head.weight", "head.bias"}, {"z"}, {}});
    graph.add_node({"tanh", "squash", {"z"}, {"y"}, {}});
    graph.add_output("y", "y");
    return graph;
}

// Runs calls as a Stream does, but every part that a worker may run as a worker runs it.
void run_remotely(const std::vector<Call>& calls, float* arena, float* own, std::size_t* remote_count) {
    for (const Call& call : calls) {
        if (!call.remote) {
            call.kernel(call.args, arena);
            continue;
        }
        ++*remote_count;
        for (const PartCopy& t : call.remote->in) std::memcpy(own + t.own, arena + t.arena, t.size * sizeof(float));
        call.remote->kernel(call.remote->args.get(), own);
        for (const PartCopy& t : call.remote->out) std::memcpy(arena + t.arena, own + t.own, t.size * sizeof(float));
    }
}

#if defined(__SANITIZE_THREAD__)
constexpr int stress_steps = 1500;
#else
constexpr int stress_steps = 50000;
#endif

bool same(const float* a, const float* b, std::size_t n) { return std::memcmp(a, b, n * sizeof(float)) == 0; }

void fill_input(Stream& stream, Random& random) {
    for (std::size_t i = 0; i < stream.plan().inputs()[0].size; ++i) stream.input(0)[i] = random.next();
}

bool same_outcome(const Stream& a, const Stream& b) {
    return same(a.output(0), b.output(0), a.plan().outputs()[0].size) && same(a.state(), b.state(), a.plan().state_size());
}

// Calls whose kernels are this test's own: part 0 does nothing, part 1 stores a number; on the worker it first waits for `gate`.
struct Fake {
    std::atomic<int> began{0};
    std::atomic<bool> gate{false};
};
struct FakeArgs {
    Fake* fake;
    float value;
};

}  // namespace

TEST_CASE("parts in the memory of workers give the bits of whole calls, in every precision, on every ISA") {
    const Graph graph = layers(67);
    for (const std::string& isa : available_isas()) {
        for (const char* weights : {"f32", "f16", "bf16", "i16", "i8"}) {
            Stream whole(std::make_shared<const Plan>(graph, PlanOptions{weights, isa}), OnNonFinite::propagate);
            for (const int threads : {2, 3, 4}) {
                const Plan plan(graph, with_threads(threads, weights, isa));
                CHECK(plan.kernels().name == isa);
                const auto arena = aligned_array<float>(plan.arena_size());
                // A worker has no more memory than it was told, and starts with whatever the part before left there.
                const auto own = aligned_array<float>(plan.worker_size());
                whole.reset();
                std::memcpy(arena.get() + plan.state_offset(), plan.initial_state(), plan.state_size() * sizeof(float));
                Random random(5);
                std::size_t remote_count = 0;
                for (int t = 0; t < 6; ++t) {
                    const bool odd = t % 2;   // as a Stream's steps
                    fill_input(whole, random);
                    whole.step();
                    std::memcpy(arena.get() + plan.inputs()[0].offset, whole.input(0), 13 * sizeof(float));
                    if (t / 2 % 2) {
                        run_remotely(plan.prepare_calls(odd), arena.get(), own.get(), &remote_count);
                        run_remotely(plan.finish_calls(odd), arena.get(), own.get(), &remote_count);
                    } else {
                        run_remotely(plan.step_calls(odd), arena.get(), own.get(), &remote_count);
                    }
                    plan.kernels().commit(plan.commit(odd), arena.get(), nullptr, false);
                    CHECK(same(arena.get() + plan.outputs()[0].offset, whole.output(0), 70));
                    CHECK(same(arena.get() + plan.commit(odd).states.offset, whole.state(), plan.state_size()));
                }
                // gru, lstm, rnn and the projecting lstm in step, prepare and finish; two linears in step and finish
                CHECK(remote_count >= 6 * 6u);
            }
        }
    }
}

TEST_CASE("small matrices and calls that cannot be divided are left to the calling thread") {
    PlanOptions options = with_threads(4);
    CHECK(Plan(policy("gru", 11, 64), options).worker_size() > 0);
    options.threads.smallest_part_bytes = ThreadOptions{}.smallest_part_bytes;
    CHECK(Plan(policy("gru", 11, 64), options).worker_size() == 0);
    Random random(1);
    Graph graph;
    graph.add_input("x", {4});
    add_cell(graph, random, "gru", "before", "x", 128, {{"reset", std::string("before")}});
    graph.add_output("y", "before.h_next");
    CHECK(Plan(graph, with_threads(4)).worker_size() == 0);
}

TEST_CASE("streams with threads give the bits of streams without, for every way of stepping") {
    const Graph graph = layers(96);
    for (const int threads : {2, 3, 4}) {
        const auto plan = std::make_shared<const Plan>(graph, with_threads(threads));
        Stream single(std::make_shared<const Plan>(graph)), stepped(plan), prepared(plan), block(plan);
        CHECK(stepped.memory_bytes() > single.memory_bytes());
        Random random(3);
        std::vector<float> xs, ys(30 * 70);
        for (int t = 0; t < 30; ++t) {
            fill_input(single, random);
            for (Stream* stream : {&stepped, &prepared}) std::memcpy(stream->input(0), single.input(0), 13 * sizeof(float));
            xs.insert(xs.end(), single.input(0), single.input(0) + 13);
            single.step();
            stepped.step();
            prepared.prepare();
            prepared.step();
            REQUIRE(same_outcome(stepped, single));
            REQUIRE(same_outcome(prepared, single));
            if (t == 10) {
                Stream twin(stepped), moved(std::move(twin)), other(single);
                for (Stream* stream : {&moved, &other}) stream->step();
                CHECK(same_outcome(moved, other));
                prepared.set_state(stepped.state());
            }
        }
        const float* in = xs.data();
        float* out = ys.data();
        CHECK(block.process(&in, &out, 30, nullptr) == Status::ok);
        CHECK(same_outcome(block, single));
        stepped.input(0)[2] = NAN;
        CHECK(stepped.step() == Status::nonfinite_input);
        CHECK(same_outcome(stepped, single));
        stepped.reset();
        CHECK(same(stepped.state(), plan->initial_state(), plan->state_size()));
    }
}

TEST_CASE("workers that sleep, wake and come late change no bit") {
    const Graph graph = layers(48);
    for (const int threads : {2, 4}) {
        Stream single(std::make_shared<const Plan>(graph));
        Stream helped(std::make_shared<const Plan>(graph, with_threads(threads, "f32", "", 0.02)));   // naps after 20 us
        Random random(4), pauses(8);
        for (int t = 0; t < stress_steps; ++t) {
            if (t % 64 == 0) fill_input(single, random);
            std::memcpy(helped.input(0), single.input(0), 13 * sizeof(float));
            single.step();
            if (t % 3 == 0) helped.prepare();
            helped.step();
            if (!same_outcome(helped, single)) REQUIRE(t < 0);
            if (pauses.next() > 0.995f) std::this_thread::sleep_for(std::chrono::microseconds(static_cast<int>(200 * (1 + pauses.next()))));
        }
    }
}

TEST_CASE("workers take part") {
    const auto plan = std::make_shared<const Plan>(layers(96), with_threads(2));
    Stream stream(plan);
    CHECK(stream.parts_by_workers() == 0);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (stream.parts_by_workers() < 10 && std::chrono::steady_clock::now() < end) stream.step();
    CHECK(stream.parts_by_workers() >= 10);
}

TEST_CASE("nobody waits for a worker that is stopped in the middle of a part") {
    Fake fake;
    const FakeArgs args{&fake, 2};
    RemotePart part{};
    part.args = aligned_array<std::byte>(sizeof(FakeArgs));
    new (part.args.get()) FakeArgs{&fake, 1};
    part.in = {{0, 0, 1}};
    part.out = {{1, 1, 1}};
    part.own_size = 2;
    part.kernel = [](const void* a, float* own) noexcept {
        const auto& fake_args = *static_cast<const FakeArgs*>(a);
        ++fake_args.fake->began;
        while (!fake_args.fake->gate) std::this_thread::yield();
        own[1] = fake_args.value;
    };
    // Part 0 lasts until the worker has begun its part, when the test wants that; but a worker that is asked nothing begins nothing.
    bool wait_for_worker = true;
    struct First {
        Fake* fake;
        bool* wait;
    } first{&fake, &wait_for_worker};
    const auto first_kernel = [](const void* a, float*) noexcept {
        const auto& f = *static_cast<const First*>(a);
        const int before = f.fake->began;
        const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(f.fake->gate ? 2 : 20000);
        while (*f.wait && f.fake->began == before && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    };
    const auto here = [](const void* a, float* arena) noexcept { arena[1] = static_cast<const FakeArgs*>(a)->value; };
    const Call calls[] = {{first_kernel, &first, nullptr, 2, nullptr}, {here, &args, nullptr, 1, &part}};
    ThreadOptions options;
    options.count = 2;
    options.spin_ms = 1e6;
    Workers workers(options, 2);
    float arena[2] = {0, 0};
    workers.run(calls, arena);   // the worker is stuck in this one
    CHECK(fake.began == 1);
    CHECK(arena[1] == 2);
    wait_for_worker = false;
    for (int i = 0; i < 5; ++i) {   // and is asked nothing while it is
        arena[1] = 0;
        workers.run(calls, arena);
        CHECK(arena[1] == 2);
    }
    CHECK(fake.began == 1);
    CHECK(workers.helped() == 0);
    fake.gate = wait_for_worker = true;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (workers.helped() == 0 && std::chrono::steady_clock::now() < end) workers.run(calls, arena);   // then it helps again
    CHECK(workers.helped() == 1);
    CHECK(arena[1] == 1);
}

TEST_CASE("a stream whose workers sleep can be stepped, forked and destroyed") {
    const auto plan = std::make_shared<const Plan>(layers(48), with_threads(3, "f32", "", 0));
    for (int i = 0; i < 5; ++i) {
        Stream stream(plan);
        std::this_thread::sleep_for(std::chrono::milliseconds(3 * i));
        const Stream twin(stream);
        CHECK(stream.step() == Status::ok);
    }
}

#if defined(__unix__)
TEST_CASE("a forked process steps on, without the workers, and can leave the stream") {
#if defined(RTRNN_THREAD_SANITIZER)
    MESSAGE("not run: the thread sanitizer knows no threads of the parent in a forked child, and gives up when they are let go");
    return;
#endif
    const auto plan = std::make_shared<const Plan>(layers(48), with_threads(3));
    auto stream = std::make_unique<Stream>(plan);
    stream->step();
    const pid_t child = fork();
    if (child == 0) {
        Stream single(std::make_shared<const Plan>(layers(48)));
        single.set_state(stream->state());
        bool good = true;
        for (int t = 0; t < 3; ++t) {
            single.step();
            stream->step();
            good = good && same_outcome(*stream, single);
        }
        stream.reset();
        _exit(good ? 0 : 1);
    }
    int status = -1;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
}
#endif

TEST_CASE("thread options are checked") {
    const auto make = [](int count, std::vector<int> cpus, double spin_ms) {
        PlanOptions options = with_threads(count);
        options.threads.cpus = std::move(cpus);
        options.threads.spin_ms = spin_ms;
        Stream(std::make_shared<const Plan>(policy("gru", 11, 64), options));
    };
    CHECK_NOTHROW(make(2, {}, 0));
    CHECK_THROWS_WITH_AS(make(0, {}, 5), "threads: expected 1 to 64, found 0", Error);
    CHECK_THROWS_WITH_AS(make(65, {}, 5), "threads: expected 1 to 64, found 65", Error);
    CHECK_THROWS_WITH_AS(make(3, {0}, 5), "cpus: expected 2 processor numbers, one for each thread but the calling one, found 1", Error);
    CHECK_THROWS_WITH_AS(make(2, {1 << 20}, 5), "cpus: a thread cannot be pinned to processor 1048576", Error);
    CHECK_THROWS_WITH_AS(make(2, {}, -1), "spin_ms: expected a number of milliseconds from 0 on", Error);
    CHECK_THROWS_WITH_AS(make(2, {}, NAN), "spin_ms: expected a number of milliseconds from 0 on", Error);
#if defined(__linux__)
    CHECK_NOTHROW(make(2, {0}, 5));
#endif
}
