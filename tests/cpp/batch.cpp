// Many streams, and many timesteps, at once: each has the bits that single steps give.
#include "stream/batch.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "kernels/dispatch.hpp"
#include "networks.hpp"
#include "stream/sequence.hpp"

using namespace rtrnn;
using namespace rtrnn::testing;

namespace {

struct Case {
    std::string name;
    Graph graph;
};

Graph stacked(const char* op, std::int64_t input, std::int64_t hidden, Attributes attributes = {}) {
    Graph graph;
    Random random(9);
    graph.add_input("x", {input});
    const std::string first = add_cell(graph, random, op, "a", "x", hidden, attributes);
    graph.add_output("y", add_cell(graph, random, op, "b", first, hidden, attributes));
    return graph;
}

// A delay line in front, a cell whose output goes through a head and back into its own input, and a projection of the sum:
// states that are read before, after and beside what writes them.
Graph tangled() {
    Graph graph;
    Random random(4);
    graph.add_input("x", {6});
    graph.add_state("delayed", {6});
    graph.add_state("fed", {5});
    graph.add_state("total", {3});
    graph.add_node({"concat", "join", {"x", "delayed", "fed"}, {"joined"}, {{"axis", std::int64_t{0}}}});
    add_random_tensor(graph, random, "w", {9, 17});
    graph.add_node({"linear", "encoder", {"joined", "w"}, {"encoded"}, {}});
    const std::string h = add_cell(graph, random, "gru", "cell", "encoded", 12);
    add_random_tensor(graph, random, "v", {5, 12});
    graph.add_node({"linear", "head", {h, "v"}, {"action"}, {}});
    add_random_tensor(graph, random, "u", {3, 5});
    graph.add_node({"linear", "tail", {"action", "u"}, {"part"}, {}});
    graph.add_node({"add", "sum", {"total", "part"}, {"sum"}, {}});
    graph.set_next("delayed", "x");
    graph.set_next("fed", "action");
    graph.set_next("total", "sum");
    graph.add_output("action", "action");
    graph.add_output("sum", "sum");
    graph.add_output("late", "delayed");
    return graph;
}

Graph convolved() {
    Graph graph;
    Random random(6);
    graph.add_input("x", {2, 40});
    add_random_tensor(graph, random, "k", {7, 2, 5});
    graph.add_node({"conv", "conv", {"x", "k"}, {"c"}, {{"strides", std::vector<std::int64_t>{1}}, {"dilations", std::vector<std::int64_t>{1}}, {"pads", std::vector<std::int64_t>{0, 0}}}});
    graph.add_node({"reshape", "flat", {"c"}, {"flat"}, {{"shape", std::vector<std::int64_t>{252}}}});
    graph.add_output("y", add_cell(graph, random, "gru", "cell", "flat", 10));
    return graph;
}

std::vector<Case> cases() {
    std::vector<Case> all;
    for (const char* op : {"rnn", "gru", "lstm"}) {
        all.push_back({op, policy(op)});
        all.push_back({std::string(op) + " 40x70", stacked(op, 40, 70)});
        all.push_back({std::string(op) + " 3x8 clip", stacked(op, 3, 8, {{"clip", 0.7}})});
    }
    all.push_back({"reset before", stacked("gru", 70, 33, {{"reset", std::string("before")}})});
    all.push_back({"tangled", tangled()});
    all.push_back({"convolved", convolved()});
    return all;
}

// All inputs, or outputs, of one timestep side by side.
std::size_t width(const std::vector<Slot>& slots) {
    std::size_t n = 0;
    for (const Slot& slot : slots) n += slot.size;
    return n;
}

std::vector<float> step(Stream& stream, const float* x, Status expected = Status::ok) {
    for (std::size_t i = 0; i < stream.plan().inputs().size(); ++i) {
        std::memcpy(stream.input(i), x, stream.plan().inputs()[i].size * sizeof(float));
        x += stream.plan().inputs()[i].size;
    }
    CHECK(stream.step() == expected);
    std::vector<float> y;
    for (std::size_t i = 0; i < stream.plan().outputs().size(); ++i) y.insert(y.end(), stream.output(i), stream.output(i) + stream.plan().outputs()[i].size);
    return y;
}

// Rows of all inputs or outputs as the calls for many want them: one block for each slot.
struct Rows2 {
    std::vector<std::vector<float>> blocks;
    std::vector<const float*> in;
    std::vector<float*> out;

    Rows2(const std::vector<Slot>& slots, std::size_t rows) {
        for (const Slot& slot : slots) blocks.emplace_back(rows * slot.size);
        for (auto& block : blocks) in.push_back(block.data()), out.push_back(block.data());
    }
    void set(const std::vector<Slot>& slots, std::size_t row, const float* values) {
        for (std::size_t i = 0; i < slots.size(); ++i) {
            std::memcpy(blocks[i].data() + row * slots[i].size, values, slots[i].size * sizeof(float));
            values += slots[i].size;
        }
    }
    std::vector<float> row(const std::vector<Slot>& slots, std::size_t row) const {
        std::vector<float> values;
        for (std::size_t i = 0; i < slots.size(); ++i)
            values.insert(values.end(), blocks[i].begin() + static_cast<std::ptrdiff_t>(row * slots[i].size), blocks[i].begin() + static_cast<std::ptrdiff_t>((row + 1) * slots[i].size));
        return values;
    }
};

bool same(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<float> state_of(const Stream& stream) { return {stream.state(), stream.state() + stream.plan().state_size()}; }

template <class F>
void for_each_plan(const F& check) {
    for (const Case& each : cases()) {
        CAPTURE(each.name);
        for (const std::string& isa : available_isas())
            for (const char* weights : {"f32", "f16", "bf16", "i16", "i8"}) {
                CAPTURE(isa);
                CAPTURE(weights);
                check(std::make_shared<const Plan>(each.graph, PlanOptions{weights, isa}));
            }
    }
}

}  // namespace

TEST_CASE("each stream of a batch has the bits that it has alone") {
    for_each_plan([](const std::shared_ptr<const Plan>& plan) {
        for (const std::size_t count : {1, 2, 7, 67}) {   // less than a panel, more than a turn
            CAPTURE(count);
            const std::size_t in = width(plan->inputs());
            Batch batch(plan, count);
            std::vector<Stream> alone;
            for (std::size_t n = 0; n < count; ++n) alone.emplace_back(plan);
            Random random(count);
            Rows2 x(plan->inputs(), count), y(plan->outputs(), count);
            const int steps = count > 7 ? 3 : 6;
            for (int t = 0; t < steps; ++t) {
                if (t == 1) batch.prepare();
                if (t == 2) batch.stream(count / 2).prepare();
                if (t == 3) batch.stream(0).reset(), alone[0].reset();
                std::vector<std::vector<float>> expected;
                for (std::size_t n = 0; n < count; ++n) {
                    const auto row = random.vector(in);
                    x.set(plan->inputs(), n, row.data());
                    expected.push_back(step(alone[n], row.data()));
                }
                REQUIRE(batch.step(x.in.data(), y.out.data(), nullptr) == Status::ok);
                bool equal = true;
                for (std::size_t n = 0; n < count; ++n) equal = equal && same(y.row(plan->outputs(), n), expected[n]) && same(state_of(batch.stream(n)), state_of(alone[n]));
                CHECK(equal);
            }
            if (count > 7) continue;
            Batch twin(batch);
            REQUIRE(twin.step(x.in.data(), y.out.data(), nullptr) == Status::ok);
            for (std::size_t n = 0; n < count; ++n) {
                CHECK(same(state_of(batch.stream(n)), state_of(alone[n])));
                step(alone[n], x.row(plan->inputs(), n).data());
                CHECK(same(state_of(twin.stream(n)), state_of(alone[n])));
                CHECK(twin.stream(n).steps() == static_cast<std::uint64_t>(steps + 1));
            }
        }
    });
}

TEST_CASE("a bad row of a batch: error changes nothing, hold holds that stream alone, propagate lets it through") {
    const auto plan = std::make_shared<const Plan>(policy("gru"));
    constexpr std::size_t count = 70;
    for (const OnNonFinite policy : {OnNonFinite::error, OnNonFinite::hold, OnNonFinite::propagate}) {
        Batch batch(plan, count, policy);
        std::vector<Stream> alone;
        for (std::size_t n = 0; n < count; ++n) alone.emplace_back(plan, policy);
        Random random(1);
        Rows2 x(plan->inputs(), count), y(plan->outputs(), count);
        std::vector<std::vector<float>> rows;
        for (std::size_t n = 0; n < count; ++n) {
            rows.push_back(random.vector(11));
            x.set(plan->inputs(), n, rows[n].data());
            step(alone[n], rows[n].data());
        }
        REQUIRE(batch.step(x.in.data(), y.out.data(), nullptr) == Status::ok);
        for (const std::size_t bad : {66, 5}) {
            x.blocks[0][bad * 11 + 3] = NAN;
            rows[bad][3] = NAN;
        }
        batch.stream(5).prepare();
        std::size_t failed_at = 1000;
        const Status status = batch.step(x.in.data(), y.out.data(), &failed_at);
        if (policy == OnNonFinite::error) {
            CHECK(status == Status::nonfinite_input);
            CHECK(failed_at == 5);
            for (std::size_t n = 0; n < count; ++n) {
                CHECK(same(state_of(batch.stream(n)), state_of(alone[n])));
                CHECK(batch.stream(n).steps() == 1);
                CHECK(batch.stream(n).nonfinite_count() == (n == 5));
            }
            continue;
        }
        CHECK(status == (policy == OnNonFinite::hold ? Status::held : Status::ok));
        for (std::size_t n = 0; n < count; ++n) {
            const bool bad = n == 5 || n == 66;
            const auto expected = step(alone[n], rows[n].data(), bad && policy == OnNonFinite::hold ? Status::held : Status::ok);
            if (bad && policy == OnNonFinite::propagate) {
                CHECK(std::isnan(y.row(plan->outputs(), n)[0]));
                continue;
            }
            CHECK(same(y.row(plan->outputs(), n), expected));
            CHECK(same(state_of(batch.stream(n)), state_of(alone[n])));
            CHECK(batch.stream(n).nonfinite_count() == alone[n].nonfinite_count());
        }
    }
}

TEST_CASE("an overflow in one stream of a batch") {
    Graph graph;
    graph.add_input("x", {1});
    graph.add_state("s", {1});
    graph.add_node({"add", "sum", {"s", "x"}, {"total"}, {}});
    graph.set_next("s", "total");
    graph.add_output("y", "total");
    const auto plan = std::make_shared<const Plan>(graph);
    const std::vector<float> x{1, 3e38f, 1};
    std::vector<float> y(3);
    const float* in = x.data();
    float* out = y.data();
    std::size_t failed_at = 9;
    Batch strict(plan, 3), holding(plan, 3, OnNonFinite::hold);
    CHECK(strict.step(&in, &out, nullptr) == Status::ok);
    CHECK(strict.step(&in, &out, &failed_at) == Status::nonfinite_result);
    CHECK(failed_at == 1);
    CHECK(strict.stream(0).state()[0] == 1.0f);
    CHECK(strict.stream(2).state()[0] == 1.0f);
    holding.step(&in, &out, nullptr);
    CHECK(holding.step(&in, &out, nullptr) == Status::held);
    CHECK(y == std::vector<float>{2, 3e38f, 2});
}

TEST_CASE("timesteps taken together have the bits of single steps") {
    for_each_plan([](const std::shared_ptr<const Plan>& plan) {
        constexpr std::size_t count = 101;   // whole blocks and a rest
        const std::size_t in = width(plan->inputs());
        Random random(3);
        Stream plain(plan), block(plan), backwards(plan), mirror(plan);
        Rows2 x(plan->inputs(), count), y(plan->outputs(), count), back(plan->outputs(), count);
        std::vector<std::vector<float>> rows, expected(count);
        for (std::size_t t = 0; t < count; ++t) {
            rows.push_back(random.vector(in));
            x.set(plan->inputs(), t, rows[t].data());
            expected[t] = step(plain, rows[t].data());
        }
        block.reserve();
        CHECK(block.process(x.in.data(), y.out.data(), count, nullptr) == Status::ok);
        bool equal = same(state_of(block), state_of(plain));
        for (std::size_t t = 0; t < count; ++t) equal = equal && same(y.row(plan->outputs(), t), expected[t]);
        CHECK(equal);
        CHECK(block.steps() == count);
        CHECK(same(step(block, rows[0].data()), step(plain, rows[0].data())));

        backwards.reserve();
        CHECK(backwards.process(x.in.data(), back.out.data(), count, nullptr, true) == Status::ok);
        equal = true;
        for (std::size_t t = count; t-- > 0;) equal = equal && same(back.row(plan->outputs(), t), step(mirror, rows[t].data()));
        CHECK(equal);
    });
}

TEST_CASE("a bad timestep in the middle of a block") {
    const auto plan = std::make_shared<const Plan>(policy("lstm"));
    constexpr std::size_t count = 100, bad = 57;
    Random random(8);
    Rows2 x(plan->inputs(), count), y(plan->outputs(), count);
    std::vector<std::vector<float>> rows;
    for (std::size_t t = 0; t < count; ++t) {
        rows.push_back(random.vector(11));
        if (t == bad) rows[t][2] = INFINITY;
        x.set(plan->inputs(), t, rows[t].data());
    }
    for (const bool backwards : {false, true}) {
        Stream strict(plan);
        strict.reserve();
        step(strict, rows[0].data());
        const auto before = state_of(strict);
        std::size_t failed_at = 0;
        CHECK(strict.process(x.in.data(), y.out.data(), count, &failed_at, backwards) == Status::nonfinite_input);
        CHECK(failed_at == bad);
        CHECK(same(state_of(strict), before));
        CHECK(strict.steps() == 1);
        CHECK(strict.nonfinite_count() == 1);
    }
    Stream holding(plan, OnNonFinite::hold), alone(plan, OnNonFinite::hold);
    holding.reserve();
    CHECK(holding.process(x.in.data(), y.out.data(), count, nullptr) == Status::held);
    for (std::size_t t = 0; t < count; ++t) CHECK(same(y.row(plan->outputs(), t), step(alone, rows[t].data(), t == bad ? Status::held : Status::ok)));
    CHECK(same(state_of(holding), state_of(alone)));
    CHECK(holding.nonfinite_count() == 1);
    CHECK(holding.steps() == count - 1);
}

TEST_CASE("what can be done for all timesteps at once is") {
    const auto kinds = [](const Graph& graph) {
        std::string text;
        const Plan plan(graph);
        for (const Segment& segment : plan.segments()) text += segment.input ? 'i' : segment.sequential ? 's' : 'p';
        return text;
    };
    CHECK(kinds(stacked("gru", 4, 8)) == "ii");
    CHECK(kinds(policy("lstm")) == "piip");   // encoder, two layers, head
    CHECK(kinds(convolved()) == "pi");
    CHECK(kinds(tangled()) == "ppsps");   // the delay line; the loop through the head; the tail; its sum
}
