// The loop and what it is made of. Built once more with -fsanitize=thread (CMakeLists.txt).
#include "loop/loop.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "networks.hpp"

using namespace rtrnn;
using namespace rtrnn::testing;

namespace {

constexpr std::int64_t ms = 1'000'000;

void sleep_ms(int n) { std::this_thread::sleep_for(std::chrono::milliseconds(n)); }

std::uint64_t of(const Loop& loop, LoopCounter counter) { return loop.counters()[static_cast<std::size_t>(counter)]; }

// Waits until `condition` holds; fails after what is long even on a machine that does much else.
template <class F>
void wait_for(F condition) {
    for (int i = 0; i < 10'000 && !condition(); ++i) sleep_ms(1);
    REQUIRE(condition());
}

std::shared_ptr<const Plan> plan_of(const std::string& op, std::int64_t hidden = 21) {
    return std::make_shared<const Plan>(policy(op, 11, hidden));
}

// 16 MB of weights are read in the step and as many in prepare: far longer than 50 us.
std::shared_ptr<const Plan> slow_plan() {
    static const auto plan = plan_of("lstm", 700);
    return plan;
}

}  // namespace

TEST_CASE("a mailbox hands over whole messages, the latest first") {
    for (const std::size_t size : {1, 2, 7, 64}) {
        Mailbox box(size);
        std::vector<float> values(size, 5), found(size);
        CHECK(box.read(found.data()).sequence == 0);
        for (int i = 1; i < 10; ++i) {
            for (std::size_t k = 0; k < size; ++k) values[k] = static_cast<float>(i) + 0.5f * static_cast<float>(k);
            box.write(values.data(), 100 * i, static_cast<std::uint64_t>(i));
            const MailboxStamp stamp = box.read(found.data());
            CHECK(stamp.sequence == static_cast<std::uint64_t>(i));
            CHECK(stamp.time_ns == 100 * i);
            CHECK(stamp.note == static_cast<std::uint64_t>(i));
            CHECK(found == values);
        }
    }
}

TEST_CASE("a mailbox under a writer and two readers never shows half a message, nor goes back") {
    Mailbox box(37);
    std::atomic<bool> done{false};
    std::atomic<int> torn{0}, backwards{0};
    std::atomic<std::uint64_t> reads{0};
    const auto read = [&] {
        std::vector<float> found(37);
        std::uint64_t last = 0;
        while (!done.load()) {
            const MailboxStamp stamp = box.read(found.data());
            if (stamp.sequence == 0) continue;
            if (stamp.sequence < last) ++backwards;
            last = stamp.sequence;
            // Every value and the note are the message's number.
            if (stamp.note != stamp.sequence) ++torn;
            for (const float value : found)
                if (value != static_cast<float>(stamp.sequence)) ++torn;
            ++reads;
        }
    };
    std::thread first(read), second(read);
    std::vector<float> values(37);
    // Numbers that a float holds exactly; until readers had their turns, however few CPUs there are.
    std::uint64_t i = 0;
    while (i < 200'000 || (reads.load() < 1000 && i < 16'000'000)) {
        std::fill(values.begin(), values.end(), static_cast<float>(++i));
        box.write(values.data(), 0, i);
    }
    done = true;
    first.join();
    second.join();
    CHECK(torn == 0);
    CHECK(backwards == 0);
    CHECK(reads > 0);
}

TEST_CASE("buckets of a histogram follow each other without gaps") {
    for (std::size_t i = 0; i + 1 < histogram_buckets; ++i) {
        const std::int64_t upper = Histogram::upper_ns(i);
        REQUIRE(Histogram::bucket_of(upper) == i);
        REQUIRE(Histogram::bucket_of(upper + 1) == i + 1);
        REQUIRE(static_cast<double>(Histogram::upper_ns(i + 1) - upper) <= 1 + static_cast<double>(upper) / 64);
    }
    CHECK(Histogram::upper_ns(histogram_buckets - 1) == (std::int64_t{1} << histogram_value_bits) - 1);
    CHECK(Histogram::bucket_of(INT64_MAX) == histogram_buckets - 1);
    CHECK(Histogram::bucket_of(-1) == 0);
}

TEST_CASE("percentiles of a histogram are the exact ones or at most 1/64 above") {
    Random random(3);
    for (const double spread : {0.0, 1.0, 8.0, 20.0}) {
        Histogram histogram;
        std::vector<std::int64_t> exact;
        for (int i = 0; i < 30'000; ++i) {
            exact.push_back(static_cast<std::int64_t>(std::exp(7 + spread * (1 + random.next()) / 2)));
            histogram.record(exact.back());
        }
        std::sort(exact.begin(), exact.end());
        const HistogramSnapshot found = histogram.snapshot();
        CHECK(found.count == exact.size());
        CHECK(found.min_ns == exact.front());
        CHECK(found.max_ns == exact.back());
        double sum = 0;
        for (const std::int64_t value : exact) sum += static_cast<double>(value);
        CHECK(found.mean_ns == doctest::Approx(sum / static_cast<double>(exact.size())).epsilon(1e-12));
        for (const double percent : {0.0, 1.0, 50.0, 90.0, 99.0, 99.9, 99.99, 100.0}) {
            const auto rank = static_cast<std::size_t>(std::ceil(percent / 100 * static_cast<double>(exact.size())));
            const std::int64_t want = exact[rank ? rank - 1 : 0], have = found.percentile_ns(percent);
            CHECK(have >= want);
            CHECK(static_cast<double>(have - want) <= static_cast<double>(want) / 64);
        }
    }
    CHECK(Histogram().snapshot().percentile_ns(99) == 0);
}

TEST_CASE("warming changes no bit") {
    for (const char* op : {"rnn", "gru", "lstm"}) {
        Graph graph = policy(op);
        // A value that lives after the cells: it may lie where prepare's results were.
        Random weights(9);
        add_random_tensor(graph, weights, "middle.weight", {21, 21});
        add_random_tensor(graph, weights, "last.weight", {4, 21});
        graph.add_node({"linear", "middle", {"layer1.h_next", "middle.weight"}, {"middle"}, {}});
        graph.add_node({"linear", "last", {"middle", "last.weight"}, {"last"}, {}});
        graph.add_output("last", "last");
        const auto plan = std::make_shared<const Plan>(graph);
        Stream warmed(plan), plain(plan);
        Random random(4);
        for (int t = 0; t < 200; ++t) {
            const auto x = random.vector(11, 2);
            if (t % 3 == 0) warmed.prepare();
            for (int i = 0; i < t % 4; ++i) warmed.warm();
            std::memcpy(warmed.input(0), x.data(), 11 * sizeof(float));
            std::memcpy(plain.input(0), x.data(), 11 * sizeof(float));
            REQUIRE(warmed.step() == Status::ok);
            REQUIRE(plain.step() == Status::ok);
            if (t % 5 == 0) warmed.warm();
            REQUIRE(std::memcmp(warmed.output(0), plain.output(0), 5 * sizeof(float)) == 0);
            REQUIRE(std::memcmp(warmed.output(1), plain.output(1), 4 * sizeof(float)) == 0);
            REQUIRE(std::memcmp(warmed.state(), plain.state(), plan->state_size() * sizeof(float)) == 0);
            if (t == 100) warmed.input(0)[0] = NAN, warmed.warm();   // what the inputs hold does not matter
        }
        CHECK(warmed.steps() == 200);
        CHECK(warmed.nonfinite_count() == 0);
    }
}

TEST_CASE("a loop takes one step per period, each a step of the Stream") {
    const auto plan = plan_of("gru");
    Random random(5);
    const auto x = random.vector(11);
    LoopOptions options;
    options.lead_ns = 100'000;
    Loop loop(Stream(plan), options);
    loop.observe(x.data());
    CHECK(loop.action(std::vector<float>(5).data()).sequence == 0);
    loop.start();
    CHECK(loop.running());
    CHECK_THROWS_AS(loop.start(), Error);
    wait_for([&] { return of(loop, LoopCounter::periods) >= 50; });
    loop.stop();
    CHECK_FALSE(loop.running());

    std::vector<float> y(5);
    const LoopAction action = loop.action(y.data());
    const std::uint64_t periods = of(loop, LoopCounter::periods);
    CHECK(action.sequence == periods);
    CHECK(action.status == Status::ok);
    CHECK_FALSE(action.watchdog);
    CHECK(action.age_ns > 0);
    CHECK(of(loop, LoopCounter::stale) == 0);
    CHECK(of(loop, LoopCounter::repeated) == periods - 1);
    for (const LoopTime time : {LoopTime::step, LoopTime::response, LoopTime::prepare}) CHECK(loop.times(time).count == periods);
    CHECK(loop.times(LoopTime::response).max_ns >= loop.times(LoopTime::step).max_ns);

    Stream twin(plan);
    std::memcpy(twin.input(0), x.data(), 11 * sizeof(float));
    for (std::uint64_t t = 0; t < periods; ++t) twin.step();
    CHECK(std::memcmp(y.data(), twin.output(0), 5 * sizeof(float)) == 0);

    // Started again it goes on; reset begins anew.
    loop.reset();
    loop.start();
    wait_for([&] { return of(loop, LoopCounter::periods) > periods; });
    loop.stop();
    const std::uint64_t more = loop.action(y.data()).sequence - periods;
    twin.reset();
    for (std::uint64_t t = 0; t < more; ++t) twin.step();
    CHECK(std::memcmp(y.data(), twin.output(0), 5 * sizeof(float)) == 0);
}

TEST_CASE("periods stay on their grid") {
    LoopOptions options;
    options.period_ns = 20 * ms;
    Loop loop(Stream(slow_plan()), options);
    loop.observe(std::vector<float>(11, 0.5f).data());
    loop.start();
    const auto passed = [&] { return of(loop, LoopCounter::periods) + of(loop, LoopCounter::skipped); };
    wait_for([&] { return passed() >= 1; });
    const std::int64_t begin = monotonic_ns();
    const std::uint64_t before = passed();
    wait_for([&] { return passed() >= before + 40; });
    const std::int64_t took = monotonic_ns() - begin, periods = static_cast<std::int64_t>(passed() - before);
    loop.stop();
    // A sleep of a period after each step would add the step, the preparation and the wake-up to every one of them.
    const std::int64_t work = loop.times(LoopTime::step).min_ns + loop.times(LoopTime::prepare).min_ns;
    CHECK(std::abs(took - periods * options.period_ns) < std::max(15 * ms, 20 * work));
    CHECK(40 * work > 15 * ms);
}

TEST_CASE("misses are counted when the step is too slow, and not when it is not") {
    LoopOptions options;
    options.period_ns = 20 * ms;
    Loop fast(Stream(plan_of("lstm")), options);
    fast.observe(std::vector<float>(11, 0.5f).data());
    fast.start();
    wait_for([&] { return of(fast, LoopCounter::periods) >= 10; });
    fast.stop();
    CHECK(of(fast, LoopCounter::late_in_step) == 0);

    options.period_ns = 50'000;
    Loop slow(Stream(slow_plan()), options);
    slow.observe(std::vector<float>(11, 0.5f).data());
    slow.start();
    wait_for([&] { return of(slow, LoopCounter::periods) >= 10; });
    slow.stop();
    CHECK(slow.times(LoopTime::step).min_ns > options.period_ns);
    CHECK(of(slow, LoopCounter::late) == of(slow, LoopCounter::periods));
    CHECK(of(slow, LoopCounter::late_in_step) == of(slow, LoopCounter::periods));
    CHECK(of(slow, LoopCounter::skipped) >= of(slow, LoopCounter::periods) - 1);
}

TEST_CASE("the watchdog takes over while observations are stale") {
    LoopOptions options;
    options.stale_ns = 200 * ms;
    options.watchdog = {1, 2, 3, 4, 5};
    Loop loop(Stream(plan_of("gru")), options);
    loop.start();
    std::vector<float> y(5);
    // None yet.
    wait_for([&] { return loop.action(y.data()).sequence > 5; });
    CHECK(y == options.watchdog);
    CHECK(loop.action(y.data()).watchdog);
    CHECK(loop.times(LoopTime::step).count == 0);
    // One, which ages.
    loop.observe(std::vector<float>(11, 0.5f).data());
    wait_for([&] { return loop.times(LoopTime::step).count > 0 && !loop.action(y.data()).watchdog; });
    CHECK(y != options.watchdog);
    wait_for([&] { return loop.action(y.data()).watchdog; });
    CHECK(y == options.watchdog);
    loop.stop();
    CHECK(of(loop, LoopCounter::stale) + loop.times(LoopTime::step).count == of(loop, LoopCounter::periods));

    // Without a watchdog action the last one stays, and before the first there is none.
    options.watchdog.clear();
    Loop hold(Stream(plan_of("gru")), options);
    hold.start();
    wait_for([&] { return of(hold, LoopCounter::stale) > 5; });
    CHECK(hold.action(y.data()).sequence == 0);
    hold.observe(std::vector<float>(11, 0.5f).data());
    wait_for([&] { return hold.action(y.data()).sequence > 0 && hold.action(y.data()).watchdog; });
    hold.stop();
    CHECK(y != std::vector<float>(5));
}

TEST_CASE("an observation that is not finite poisons nothing") {
    std::vector<float> bad(11, 0.5f), good(11, 0.5f), y(5);
    bad[3] = NAN;
    for (const auto& [policy, status] : {std::pair{OnNonFinite::error, Status::nonfinite_input}, {OnNonFinite::hold, Status::held}}) {
        LoopOptions options;
        options.watchdog = std::vector<float>(5, 9);
        Loop loop(Stream(plan_of("gru"), policy), options);
        loop.observe(good.data());
        loop.start();
        wait_for([&] { return loop.action(y.data()).sequence > 0; });
        loop.observe(bad.data());
        wait_for([&] { return loop.action(y.data()).status == status; });
        CHECK(loop.action(y.data()).watchdog == (policy == OnNonFinite::error));
        CHECK((y == options.watchdog) == (policy == OnNonFinite::error));
        CHECK(of(loop, LoopCounter::nonfinite) > 0);
        loop.observe(good.data());
        wait_for([&] { return loop.action(y.data()).status == Status::ok; });
        for (const float value : y) CHECK(std::isfinite(value));
    }
}

TEST_CASE("statistics while it runs, and a stop from another thread") {
    Loop loop(Stream(plan_of("gru")), {});
    loop.observe(std::vector<float>(11, 0.5f).data());
    loop.start();
    std::atomic<bool> done{false};
    std::thread writer([&] {
        std::vector<float> x(11);
        for (float i = 0; !done; ++i) {
            std::fill(x.begin(), x.end(), std::sin(i));
            loop.observe(x.data());
            sleep_ms(1);
        }
    });
    std::uint64_t last = 0;
    std::vector<float> y(5);
    for (int i = 0; i < 50; ++i) {
        const HistogramSnapshot found = loop.times(LoopTime::step);
        CHECK(found.count >= last);
        CHECK(found.percentile_ns(50) <= found.max_ns);
        last = found.count;
        loop.action(y.data());
        sleep_ms(2);
    }
    CHECK(last > 0);
    std::thread([&] { loop.stop(); }).join();
    CHECK_FALSE(loop.running());
    done = true;
    writer.join();
    const std::uint64_t periods = of(loop, LoopCounter::periods);
    sleep_ms(5);
    CHECK(of(loop, LoopCounter::periods) == periods);
    CHECK(of(loop, LoopCounter::repeated) < periods);
}

TEST_CASE("a loop of long periods stops soon, and options that make no sense are refused") {
    LoopOptions options;
    options.period_ns = 3'600'000 * ms;
    Loop loop(Stream(plan_of("gru")), options);
    loop.start();
    sleep_ms(10);
    const std::int64_t begin = monotonic_ns();
    loop.stop();
    CHECK(monotonic_ns() - begin < 5'000 * ms);

    const auto refused = [](auto change) {
        LoopOptions bad;
        change(bad);
        CHECK_THROWS_AS(Loop(Stream(plan_of("gru")), bad), Error);
    };
    refused([](LoopOptions& o) { o.period_ns = 0; });
    refused([](LoopOptions& o) { o.period_ns = -1; });
    refused([](LoopOptions& o) { o.deadline_ns = o.period_ns + 1; });
    refused([](LoopOptions& o) { o.lead_ns = o.period_ns; });
    refused([](LoopOptions& o) { o.stale_ns = -1; });
    refused([](LoopOptions& o) { o.watchdog = {1}; });
    refused([](LoopOptions& o) { o.thread.priority = 100; });
    refused([](LoopOptions& o) { o.thread.cpu = -2; });
}

TEST_CASE("what the system refuses is noted and the loop runs") {
    LoopOptions options;
    options.thread.cpu = 100'000;
    Loop loop(Stream(plan_of("gru")), options);
    loop.observe(std::vector<float>(11, 0.5f).data());
    loop.start();
    REQUIRE(loop.notes().size() == 1);
    CHECK(loop.notes()[0].find("CPU") != std::string::npos);
    wait_for([&] { return of(loop, LoopCounter::periods) > 3; });
}
