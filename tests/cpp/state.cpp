// Saved states, swaps, counters, hold_steps and the limits of outputs.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <thread>

#include "networks.hpp"
#include "stream/batch.hpp"
#include "stream/sequence.hpp"
#include "stream/stream.hpp"

using namespace rtrnn;
using namespace rtrnn::testing;

namespace {

using Floats = std::vector<float>;

std::shared_ptr<const Plan> plan_of(const Graph& graph, const char* limits = nullptr, const char* weights = "f32") {
    PlanOptions options;
    options.weights = weights;
    if (limits) options.limits = limits;
    return std::make_shared<const Plan>(graph, options);
}

Floats output_of(const Stream& stream) { return {stream.output(0), stream.output(0) + stream.plan().outputs()[0].size}; }
Floats state_of(const Stream& stream) { return {stream.state(), stream.state() + stream.plan().state_size()}; }

Status step(Stream& stream, const Floats& x) {
    std::memcpy(stream.input(0), x.data(), x.size() * sizeof(float));
    return stream.step();
}

std::vector<char> saved(const Stream& stream) {
    std::vector<char> bytes(stream.saved_bytes());
    stream.save(bytes.data());
    return bytes;
}

// y = x, and a state that sums x up.
Graph sum_of(std::int64_t size = 1) {
    Graph graph;
    graph.add_input("x", {size});
    graph.add_state("s", {size});
    graph.add_node({"add", "sum", {"s", "x"}, {"total"}, {}});
    graph.set_next("s", "total");
    graph.add_output("y", "total");
    return graph;
}

std::string message_of(const Graph& graph, const std::string& limits) {
    PlanOptions options;
    options.limits = limits;
    try {
        const Plan plan(graph, options);
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::invalid_argument);
        return error.what();
    }
    return "";
}

}  // namespace

TEST_CASE("a saved state goes on with the same bits, after odd and even steps, also of another precision") {
    for (const char* op : {"rnn", "gru", "lstm"}) {
        const Graph graph = policy(op);
        const auto plan = plan_of(graph);
        Random random(5);
        Stream stream(plan);
        for (int t = 0; t < 7; ++t) {
            CHECK(step(stream, random.vector(11)) == Status::ok);
            if (t % 3 == 1) stream.prepare();
            const auto bytes = saved(stream);
            Stream other(plan), smaller(plan_of(graph, nullptr, "i16"));
            step(other, random.vector(11));
            other.prepare();   // what it computed ahead must not outlive its state
            CHECK(other.restore(bytes.data(), bytes.size()) == Restored::ok);
            CHECK(saved(other) == bytes);
            CHECK(output_of(other) == output_of(stream));
            CHECK(smaller.restore(bytes.data(), bytes.size()) == Restored::ok);
            CHECK(state_of(smaller) == state_of(stream));
            Stream twin(stream);
            const auto x = random.vector(11);
            step(twin, x), step(other, x);
            CHECK(saved(other) == saved(twin));
        }
    }
}

TEST_CASE("a saved state that is damaged, cut short or of another network is refused and changes nothing") {
    Random random(6);
    Stream stream(plan_of(policy("gru"))), other(plan_of(policy("gru")));
    step(stream, random.vector(11));
    const auto bytes = saved(stream);
    const auto before = saved(other);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        auto damaged = bytes;
        damaged[i] = static_cast<char>(damaged[i] ^ (1 << i % 8));
        CHECK(other.restore(damaged.data(), damaged.size()) == Restored::damaged);
        CHECK(other.restore(bytes.data(), i) == Restored::damaged);
    }
    auto longer = bytes;
    longer.resize(bytes.size() + 4);
    CHECK(other.restore(longer.data(), longer.size()) == Restored::damaged);
    CHECK(saved(other) == before);
    longer.insert(longer.begin(), 'x');   // at an address that is aligned for nothing
    CHECK(other.restore(longer.data() + 1, bytes.size()) == Restored::ok);

    for (const Graph& graph : {policy("rnn"), policy("lstm"), policy("gru", 11, 22), policy("gru", 12), policy("gru", 11, 21, 4)}) {
        Stream foreign(plan_of(graph));
        CHECK(foreign.restore(bytes.data(), bytes.size()) == Restored::mismatch);
        CHECK(foreign.restore(bytes.data(), bytes.size(), true) == Restored::mismatch);
    }
    Stream retrained(plan_of(policy("gru", 11, 21, 5, 99)));
    CHECK(retrained.restore(bytes.data(), bytes.size()) == Restored::mismatch);
    CHECK(retrained.restore(bytes.data(), bytes.size(), true) == Restored::ok);
    CHECK(state_of(retrained) == state_of(stream));

    Stream open(plan_of(sum_of()), OnNonFinite::propagate), closed(plan_of(sum_of()));
    CHECK(step(open, {NAN}) == Status::ok);
    const auto poisoned = saved(open);
    CHECK(closed.restore(poisoned.data(), poisoned.size()) == Restored::nonfinite);
    CHECK(state_of(closed) == Floats{0});
    CHECK(Stream(closed.shared_plan(), OnNonFinite::propagate).restore(poisoned.data(), poisoned.size()) == Restored::ok);
}

TEST_CASE("structure: what a state means, whatever the weights and their names") {
    const Graph graph = policy("gru");
    CHECK(policy("gru", 11, 21, 5, 2).structure() == graph.structure());
    CHECK(policy("gru", 11, 21, 5, 2).fingerprint() != graph.fingerprint());
    for (const Graph& other : {policy("lstm"), policy("rnn"), policy("gru", 12), policy("gru", 11, 20), policy("gru", 11, 21, 6)})
        CHECK(other.structure() != graph.structure());
    const auto linear = [](const char* weight, const char* op, const char* state) {
        Graph made;
        made.add_input("x", {2});
        made.add_tensor(weight, {2}, Floats{1, 2}.data());
        made.add_state(state, {2});
        made.add_node({op, "n", {"x", weight}, {"y"}, {}});
        made.set_next(state, "y");
        made.add_output("y", "y");
        return made.structure();
    };
    CHECK(linear("w", "add", "s") == linear("other", "add", "s"));
    CHECK(linear("w", "add", "s") != linear("w", "mul", "s"));
    CHECK(linear("w", "add", "s") != linear("w", "add", "t"));
}

TEST_CASE("a swap to the same weights changes no bit; to others it is their step from the state as it was") {
    for (const char* op : {"rnn", "gru", "lstm"}) {
        const Graph graph = policy(op), further = policy(op, 11, 21, 5, 2);
        Random random(7);
        Stream stream(plan_of(graph)), plain(plan_of(graph));
        for (int t = 0; t < 24; ++t) {
            const auto x = random.vector(11);
            CHECK(step(plain, x) == Status::ok);
            if (t % 2) stream.prepare();
            Stream same(plan_of(graph));
            CHECK(stream.swap(same));
            if (t % 5 == 0) {   // there and back
                CHECK(stream.swap(same));
                CHECK(stream.swap(same));
            }
            CHECK(step(stream, x) == Status::ok);
            CHECK(saved(stream) == saved(plain));
        }
        CHECK(stream.steps() == 24);
        for (const auto& plan : {plan_of(graph, nullptr, "i8"), plan_of(further), plan_of(further, nullptr, "bf16")}) {
            Stream next(plan), expected(plan);
            CHECK(expected.set_state(stream.state()));
            const auto x = random.vector(11);
            CHECK(stream.swap(next));
            CHECK(&stream.plan() == plan.get());
            CHECK(output_of(stream) == output_of(next));   // shown until the next step
            CHECK(step(stream, x) == Status::ok);
            CHECK(step(expected, x) == Status::ok);
            CHECK(output_of(stream) == output_of(expected));
            CHECK(state_of(stream) == state_of(expected));
        }
        const auto before = saved(stream);
        for (const Graph& other : {policy(op, 11, 22), policy(op, 10), policy(std::string(op) == "gru" ? "lstm" : "gru")}) {
            Stream foreign(plan_of(other));
            CHECK(!stream.swap(foreign));
        }
        CHECK(saved(stream) == before);
        Batch batch(plan_of(graph), 2);   // whose memory belongs to all its streams
        CHECK(!stream.swap(batch.stream(0)));
        CHECK(!batch.stream(0).swap(stream));
        CHECK(saved(stream) == before);
    }
}

TEST_CASE("hold_steps: so many held steps in a row, then an error, until a good step") {
    const auto plan = plan_of(sum_of());
    Stream stream(plan, OnNonFinite::hold);
    stream.set_hold_steps(2);
    CHECK(step(stream, {1}) == Status::ok);
    for (int round = 0; round < 2; ++round) {
        CHECK(step(stream, {NAN}) == Status::held);
        CHECK(step(stream, {INFINITY}) == Status::held);
        CHECK(step(stream, {NAN}) == Status::nonfinite_input);
        const Floats bad{-INFINITY};
        Floats y{-7};
        CHECK(stream.step(bad.data(), y.data()) == Status::nonfinite_input);
        CHECK(y == Floats{-7});
        CHECK(stream.counters().held_in_a_row.get() == 2);
        CHECK(stream.nonfinite_count() == 4u * static_cast<unsigned>(round + 1));
        CHECK(step(stream, {0}) == Status::ok);
        CHECK(stream.counters().held_in_a_row.get() == 0);
    }
    CHECK(output_of(stream) == Floats{1});
    CHECK(step(stream, {NAN}) == Status::held);
    const auto bytes = saved(stream);   // knows that one was held
    Stream other(plan, OnNonFinite::hold);
    other.set_hold_steps(2);
    CHECK(other.restore(bytes.data(), bytes.size()) == Restored::ok);
    Stream fork(stream);
    for (Stream* each : {&stream, &other, &fork}) {
        CHECK(step(*each, {NAN}) == Status::held);
        CHECK(step(*each, {NAN}) == Status::nonfinite_input);
    }
    stream.reset();
    CHECK(step(stream, {NAN}) == Status::held);
    CHECK(step(stream, {3e38f}) == Status::ok);
    CHECK(step(stream, {3e38f}) == Status::held);   // an overflow inside counts likewise
    CHECK(step(stream, {3e38f}) == Status::held);
    CHECK(step(stream, {3e38f}) == Status::nonfinite_result);
    CHECK(state_of(stream) == Floats{3e38f});

    // A block that fails leaves the count as it was.
    Stream block(plan, OnNonFinite::hold);
    block.reserve();
    block.set_hold_steps(2);
    Floats xs{1, NAN, 1, NAN, NAN, NAN, 1}, ys(7);
    const float* in = xs.data();
    float* out = ys.data();
    std::size_t failed_at = 0;
    CHECK(step(block, {NAN}) == Status::held);
    CHECK(block.process(&in, &out, 7, &failed_at) == Status::nonfinite_input);
    CHECK(failed_at == 5);
    CHECK(block.counters().held_in_a_row.get() == 1);
    CHECK(block.steps() == 0);
    CHECK(block.nonfinite_count() == 5);
    CHECK(block.process(&in, &out, 5, &failed_at) == Status::held);
    CHECK(ys == Floats{1, 1, 2, 2, 2, 0, 0});
}

TEST_CASE("hold_steps in a batch: each stream counts its own; a failed step counts for none") {
    Batch batch(plan_of(sum_of()), 3, OnNonFinite::hold);
    batch.set_hold_steps(1);
    Floats y(3);
    float* out = y.data();
    std::size_t failed_at = 9;
    const auto step_batch = [&](const Floats& x) {
        const float* in = x.data();
        return batch.step(&in, &out, &failed_at);
    };
    CHECK(step_batch({1, 2, 3}) == Status::ok);
    CHECK(step_batch({1, NAN, 1}) == Status::held);
    CHECK(y == Floats{2, 2, 4});
    CHECK(step_batch({NAN, NAN, 1}) == Status::nonfinite_input);
    CHECK(failed_at == 1);
    CHECK(batch.stream(0).counters().held_in_a_row.get() == 0);
    CHECK(batch.stream(1).counters().held_in_a_row.get() == 1);
    CHECK(step_batch({NAN, 1, 1}) == Status::held);   // the failed step was not counted against stream 0
    CHECK(y == Floats{2, 3, 5});
    Batch fork(batch);
    CHECK(fork.stream(0).counters().held_in_a_row.get() == 1);
    CHECK(fork.stream(0).hold_steps() == 1);
}

TEST_CASE("counters are read by another thread while steps are taken") {
    Stream stream(plan_of(sum_of(), R"({"y": {"max": 0.5}})"), OnNonFinite::hold);
    std::atomic<bool> done{false};
    bool orderly = true;
    std::thread reader([&] {
        std::uint64_t steps = 0, nonfinite = 0, limited = 0;
        while (!done) {
            const Counters& now = stream.counters();
            orderly = orderly && now.steps.get() >= steps && now.nonfinite.get() >= nonfinite && now.limited.get() >= limited;
            steps = now.steps.get(), nonfinite = now.nonfinite.get(), limited = now.limited.get();
        }
    });
    for (int t = 0; t < 20000; ++t) step(stream, {t % 5 == 0 ? NAN : 1.0f});
    done = true;
    reader.join();
    CHECK(orderly);
    CHECK(stream.steps() == 16000);
    CHECK(stream.nonfinite_count() == 4000);
    CHECK(stream.counters().limited.get() == 16000);
}

TEST_CASE("limits: bounds, then the rate; outputs alone; counted") {
    const Graph graph = sum_of(3);
    Stream stream(plan_of(graph, R"({"y": {"min": -1, "max": [1, null, 4], "max_change": [null, 0.5, 2], "initial": 0}})"));
    CHECK(step(stream, {0.25f, 0.25f, 1}) == Status::ok);
    CHECK(output_of(stream) == Floats{0.25f, 0.25f, 1});
    CHECK(stream.counters().limited.get() == 0);
    CHECK(step(stream, {4, 4, 8}) == Status::ok);
    CHECK(output_of(stream) == Floats{1, 0.75f, 3});
    CHECK(stream.counters().limited.get() == 1);
    CHECK(step(stream, {-10, 0, 0}) == Status::ok);
    CHECK(output_of(stream) == Floats{-1, 1.25f, 4});   // by way of the bounds: 4, not 5
    CHECK(stream.counters().limited.get() == 2);
    CHECK(stream.state()[0] == -5.75f);   // the network's own state knows no limits
    CHECK(step(stream, {0, NAN, 0}) == Status::nonfinite_input);
    CHECK(output_of(stream) == Floats{-1, 1.25f, 4});
    CHECK(stream.plan().states().back().name == "limits.count");
    CHECK(state_of(stream).back() == 0);

    // Without "initial" the first timestep may be anywhere, after a reset too.
    Stream free(plan_of(graph, R"({"y": {"max_change": 1}})"));
    for (int round = 0; round < 2; ++round) {
        CHECK(step(free, {100, -3e38f, 0}) == Status::ok);
        CHECK(output_of(free) == Floats{100, -3e38f, 0});
        CHECK(step(free, {100, 0, 0.5f}) == Status::ok);
        CHECK(output_of(free) == Floats{101, -3e38f, 0.5f});
        CHECK(step(free, {0, 0, -5}) == Status::ok);
        CHECK(output_of(free) == Floats{102, -3e38f, -0.5f});
        CHECK(free.counters().limited.get() == 2u * static_cast<unsigned>(round + 1));
        free.reset();
    }
}

TEST_CASE("limits do not hide an overflow") {
    // y overflows, and no state does.
    Graph graph;
    graph.add_input("x", {1});
    graph.add_node({"mul", "square", {"x", "x"}, {"y"}, {}});
    graph.add_output("y", "y");
    for (const char* limits : {R"({"y": {"max": 1}})", R"({"y": {"min": -1, "max_change": 5, "initial": 0}})"}) {
        Stream stream(plan_of(graph, limits)), open(plan_of(graph, limits), OnNonFinite::propagate);
        CHECK(step(stream, {1}) == Status::ok);
        CHECK(step(stream, {1e30f}) == Status::nonfinite_result);
        CHECK(output_of(stream) == Floats{1});
        CHECK(step(stream, {1e15f}) == Status::ok);   // large, but a number
        CHECK(step(open, {1e30f}) == Status::ok);
        CHECK(!std::isfinite(output_of(open)[0]));
    }
}

TEST_CASE("limits: every way of stepping gives the same bits and counts") {
    const char* limits = R"({"y": {"min": -0.6, "max": [0.5, 0.1, null, 0.4, 9], "max_change": 0.125}})";
    for (const char* op : {"gru", "lstm"}) {
        const Graph graph = policy(op);
        const auto plan = plan_of(graph, limits);
        constexpr std::size_t steps = 130;
        const Floats xs = Random(3).vector(steps * 11, 2);
        Floats plain(steps * 5), block(steps * 5), whole(steps * 5);
        Stream stream(plan), prepared(plan), blocks(plan), limitless(plan_of(graph));
        Batch batch(plan, 2);
        blocks.reserve();
        bool acted = false;
        for (std::size_t t = 0; t < steps; ++t) {
            const Floats x(xs.begin() + static_cast<std::ptrdiff_t>(t) * 11, xs.begin() + static_cast<std::ptrdiff_t>(t + 1) * 11);
            CHECK(step(stream, x) == Status::ok);
            prepared.prepare();
            CHECK(step(prepared, x) == Status::ok);
            CHECK(saved(prepared) == saved(stream));
            step(limitless, x);
            acted = acted || output_of(limitless) != output_of(stream);
            std::memcpy(plain.data() + 5 * t, stream.output(0), 20);
            Floats both(x), y(10);
            both.insert(both.end(), x.begin(), x.end());
            const float* in = both.data();
            float* out = y.data();
            CHECK(batch.step(&in, &out, nullptr) == Status::ok);
            CHECK(std::memcmp(y.data() + 5, stream.output(0), 20) == 0);
            for (std::size_t i = 0; t > 0 && i < 5; ++i) CHECK(std::abs(plain[5 * t + i] - plain[5 * t - 5 + i]) < 0.1250001f);
        }
        CHECK(acted);
        CHECK(std::memcmp(stream.state(), limitless.state(), limitless.plan().state_size() * sizeof(float)) == 0);
        const float* in = xs.data();
        float* out = block.data();
        CHECK(blocks.process(&in, &out, steps, nullptr) == Status::ok);
        CHECK(block == plain);
        CHECK(saved(blocks) == saved(stream));
        PlanOptions options;
        options.limits = limits;
        std::size_t failed_at = 0;
        CHECK(Sequence(graph, options).run({xs.data()}, {whole.data()}, steps, &failed_at) == Status::ok);
        CHECK(whole == plain);
        const std::uint64_t counted = stream.counters().limited.get();
        CHECK(counted > 0);
        for (const Stream* other : {&prepared, &blocks, &batch.stream(1)}) CHECK(other->counters().limited.get() == counted);
        // A block that fails is not counted.
        Floats bad = xs;
        bad.back() = NAN;
        in = bad.data();
        CHECK(blocks.process(&in, &out, steps, nullptr) == Status::nonfinite_input);
        CHECK(blocks.counters().limited.get() == counted);
        CHECK(saved(blocks) == saved(stream));
    }
}

TEST_CASE("limits in metadata, their override, and what makes no sense") {
    Graph graph = sum_of(2);
    graph.metadata()["rtrnn.limits"] = R"({"y": {"max": 0.5}})";
    Stream limited(plan_of(graph)), free(plan_of(graph, "")), other(plan_of(graph, R"({"y": {"max": [0.25, 3]}})"));
    for (Stream* stream : {&limited, &free, &other}) step(*stream, {1, 2});
    CHECK(output_of(limited) == Floats{0.5f, 0.5f});
    CHECK(output_of(free) == Floats{1, 2});
    CHECK(output_of(other) == Floats{0.25f, 2});
    CHECK(free.plan().states().size() == 1);
    CHECK(limited.plan().same_structure(other.plan()));   // limits have values of their own, as weights have
    CHECK(!limited.plan().same_structure(free.plan()));
    graph.metadata()["rtrnn.limits"] = "no JSON";
    try {
        plan_of(graph);
        FAIL("expected an error");
    } catch (const Error& error) {
        CHECK(error.kind() == ErrorKind::invalid_graph);
    }
    for (const auto& [text, words] : {std::pair{"[1]", "an object"}, {R"({"z": {}})", "no output 'z'"}, {R"({"y": 1})", "an object"},
                                      {R"({"y": {"maximum": 1}})", "maximum"}, {R"({"y": {"max": [1]}})", "2 of them"},
                                      {R"({"y": {"max": "1"}})", "a number"}, {R"({"y": {"max": 1e39}})", "range"},
                                      {R"({"y": {"min": 1, "max": [2, 0]}})", "element 1"}, {R"({"y": {"max_change": 0}})", "positive"},
                                      {R"({"y": {"max_change": [1, -1]}})", "positive"}, {R"({"y": {"initial": 0}})", "max_change"},
                                      {R"({"y": {"max_change": 1, "initial": [0, null]}})", "every element"},
                                      {R"({"y": {"max_change": 1, "max": 1, "initial": 2}})", "outside"}, {"{", ""}}) {
        const std::string message = message_of(sum_of(2), text);
        CAPTURE(message);
        CHECK(message.find("rtrnn.limits") == 0);
        CHECK(message.find(words) != std::string::npos);
    }
    CHECK(message_of(sum_of(2), "{}").empty());
    CHECK(message_of(sum_of(2), R"({"y": {}})").empty());
}
