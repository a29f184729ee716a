// What the benchmarks share: the probes do the work that their figures say, and a timed step is a step.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "bench/limits.hpp"
#include "bench/step_timer.hpp"
#include "error.hpp"
#include "kernels/dispatch.hpp"
#include "networks.hpp"

using namespace rtrnn;
using namespace rtrnn::testing;

TEST_CASE("bench: quantiles and lower means") {
    CHECK(quantile({}, 0.5) == 0);
    CHECK(quantile({3, 1, 2}, 0.5) == 2);
    CHECK(quantile({4, 1, 2, 3}, 0.5) == 2.5);
    CHECK(quantile({1, 2, 3, 4, 5}, 1) == 5);
    CHECK(quantile({0, 10}, 0.1) == doctest::Approx(1));
    CHECK(lower_mean({}) == 0);
    CHECK(lower_mean({7}) == 7);
    CHECK(lower_mean({1, 1, 1, 1, 1, 2, 2, 2, 2, 1000000}) == doctest::Approx(13.0 / 9));
}

static bool has_512_bits(const std::string& isa) { return isa.rfind("avx512", 0) == 0; }

TEST_CASE("bench: the read probe reads every element") {
    constexpr std::size_t n = 4 * 512;
    const auto data = aligned_array<float>(n);
    alignas(64) float sink[32];
    for (const std::string& isa : available_isas()) {
        CAPTURE(isa);
        const auto bits_seen = [&] {
            find_kernels(isa)->probe.read(data.get(), n, 2, sink);
            std::uint32_t seen = 0;
            for (int lane = 0; lane < 8; ++lane) {   // the narrowest vector of the probes
                std::uint32_t bits;
                std::memcpy(&bits, sink + lane, 4);
                seen |= bits;
            }
            if (has_512_bits(isa))
                for (int lane = 8; lane < 16; ++lane) {
                    std::uint32_t bits;
                    std::memcpy(&bits, sink + lane, 4);
                    seen |= bits;
                }
            return seen;
        };
        CHECK(bits_seen() == 0);
        for (std::size_t i = 0; i < n; i += 61) {
            data[i] = 1.0f;
            CHECK_MESSAGE(bits_seen() != 0, "element ", i, " was not read");
            data[i] = 0.0f;
        }
    }
}

TEST_CASE("bench: the multiply-add probe does as many as it counts") {
    for (const std::string& isa : available_isas()) {
        CAPTURE(isa);
        const ProbeKernels& probe = find_kernels(isa)->probe;
        const int lanes = has_512_bits(isa) ? 16 : 8;
        const int chains = probe.fma_per_turn / lanes;
        CHECK(chains * lanes == probe.fma_per_turn);
        CHECK(chains >= 8);
        for (std::size_t turns : {std::size_t{0}, std::size_t{1}, std::size_t{7}}) {
            alignas(64) float sink[64];
            for (float& value : sink) value = 0.5f;
            probe.fma(turns, sink);
            float sum = 0.5f;
            for (int i = 0; i < chains; ++i) {   // each from a start of its own: chains alike would be computed once
                float chain = 0.5f + static_cast<float>(i);
                for (std::size_t t = 0; t < turns; ++t) chain = std::fma(chain, 0.5f, 0.5f);
                sum += chain;
            }
            for (int lane = 0; lane < lanes; ++lane) CHECK(sink[lane] == sum);
        }
    }
}

TEST_CASE("bench: limits are found for each cache and each size asked for") {
    LimitProbes probes({1000, 40000});
    probes.one_turn();
    probes.one_turn();
    const Limits limits = probes.medians();
    CHECK(limits.turns == 2);
    CHECK(limits.gigaflops.median > 0.01);
    CHECK(limits.gigaflops.high >= limits.gigaflops.median);
    CHECK(limits.timer_ns >= 0);
    REQUIRE(limits.sizes.size() == 2);
    CHECK(limits.sizes[0].working_set == 2048);   // whole blocks, at least one
    CHECK(limits.sizes[1].working_set == 38912);
    for (const ReadLimit& level : limits.levels) {
        CAPTURE(level.name);
        CHECK(level.gigabytes_per_second.median > 0.01);
        if (level.capacity > 0) CHECK(level.working_set <= level.capacity);
    }
    for (const CacheLevel& cache : cache_levels()) CHECK(cache.bytes >= 4096);
}

TEST_CASE("bench: weights live in the smallest cache that holds them") {
    Limits limits{};
    CHECK(level_of(limits, 1) == nullptr);
    limits.levels = {{"L1", 100, 50, {9, 9}}, {"L2", 1000, 500, {5, 5}}, {"memory", 0, 9000, {1, 1}}};
    CHECK(level_of(limits, 100)->name == "L1");
    CHECK(level_of(limits, 101)->name == "L2");
    CHECK(level_of(limits, 1001)->name == "memory");
    limits.levels.pop_back();   // no probe of memory: the last cache has to do
    CHECK(level_of(limits, 1001)->name == "L2");
}

TEST_CASE("bench: timed steps are a Stream's steps") {
    const auto plan = std::make_shared<const Plan>(policy("lstm"));
    Random random(3);
    const std::size_t size = plan->inputs()[0].size;
    const std::vector<float> rows = random.vector(3 * size);
    for (const TimedPart part : {TimedPart::step, TimedPart::prepare, TimedPart::finish}) {
        StepTimer timer(plan, rows);
        std::vector<std::int64_t> ns(5, -1);
        timer.block(2);
        timer.singles(5, part, ns.data());
        Stream stream(plan);
        for (std::size_t t = 0; t < 7; ++t) {
            std::memcpy(stream.input(0), rows.data() + t % 3 * size, size * sizeof(float));
            REQUIRE(stream.step() == Status::ok);
        }
        CHECK(timer.stream().steps() == 7);
        CHECK(std::memcmp(timer.outputs().data(), stream.output(0), timer.outputs().size() * sizeof(float)) == 0);
        for (std::int64_t each : ns) CHECK(each >= 0);
    }
}

TEST_CASE("bench: rows of another size and networks that overflow are errors") {
    const auto plan = std::make_shared<const Plan>(policy("gru"));
    CHECK_THROWS_AS(StepTimer(plan, std::vector<float>(plan->inputs()[0].size + 1)), Error);
    CHECK_THROWS_AS(StepTimer(plan, {}), Error);
    StepTimer timer(plan, std::vector<float>(plan->inputs()[0].size, INFINITY));
    CHECK_THROWS_AS(timer.block(1), Error);
    std::int64_t ns;
    CHECK_THROWS_AS(timer.singles(1, TimedPart::step, &ns), Error);
}
