// A policy at 1 kHz: rtrnn::Loop steps it in a thread of its own while this one plays the part of sensors and motors.
//
// A recording is played back so that each observation is stepped on once, and the actions can be compared with those of any other way to
// run the network. An observation, handed over right after the action before it, counts for one and a half periods: one step is taken on
// it, and none in a period that has no newer one. When the machine was so late that one was stepped on twice, or its action was replaced
// before it was read, the playback starts again from the initial state, and after a few such attempts at half the rate.
#include <rtrnn/rtrnn.hpp>

#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

constexpr std::int64_t period_ns = 1000000, slowest_ns = 64 * period_ns;
constexpr int attempts = 5;   // at each rate

std::vector<float> read_floats(const char* path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(std::string(path) + ": cannot be read");
    const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    std::vector<float> values(bytes.size() / sizeof(float));
    if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
    return values;
}

// Hands over one observation and waits for the action that answers it, five seconds at most.
rtrnn::Status exchange(rtrnn::Loop& loop, rtrnn::span<const float> x, rtrnn::span<float> y) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    rtrnn::LoopAction info;
    loop.action(y, &info);
    std::uint64_t seen = info.sequence;
    loop.observe(x);
    while (std::chrono::steady_clock::now() < limit) {
        std::this_thread::sleep_for(std::chrono::microseconds(50));
        const rtrnn::Status status = loop.action(y, &info);
        if (status != rtrnn::Status::ok || info.status > RTRNN_HELD) return status != rtrnn::Status::ok ? status : rtrnn::Status(info.status);
        if (info.sequence == seen) continue;
        if (!info.watchdog) return status;
        seen = info.sequence;   // it was too old by the time it was looked at
        loop.observe(x);
    }
    throw std::runtime_error("no action within five seconds");
}

void print(const std::vector<float>& values, std::size_t width) {
    for (std::size_t i = 0; i < values.size(); ++i) {
        std::uint32_t bits;
        std::memcpy(&bits, &values[i], sizeof bits);
        std::printf("%08" PRIx32 "%c", bits, (i + 1) % width ? ' ' : '\n');
    }
}

void report(const rtrnn::Loop& loop) {
    const rtrnn::LoopCounters counters = loop.counters();
    const rtrnn::LoopTimes step = loop.times(rtrnn::LoopTime::step), response = loop.times(rtrnn::LoopTime::response);
    std::fprintf(stderr, "%" PRIu64 " periods, %" PRIu64 " late (%" PRIu64 " because of the step), %" PRIu64 " skipped\n", counters.periods,
                 counters.late, counters.late_in_step, counters.skipped);
    std::fprintf(stderr, "step     p50 %6.2f us, p99 %6.2f us, max %8.2f us\n", step.p50_ns * 1e-3, step.p99_ns * 1e-3, step.max_ns * 1e-3);
    std::fprintf(stderr, "response p50 %6.2f us, p99 %6.2f us, max %8.2f us\n", response.p50_ns * 1e-3, response.p99_ns * 1e-3, response.max_ns * 1e-3);
}

int run(const char* model, const char* recording) {
    const rtrnn::Plan plan(model);
    const rtrnn::Stream stream(plan);
    rtrnn::LoopOptions options = rtrnn::loop_options();
    options.period_ns = period_ns;
    options.lead_ns = 50000;
    options.priority = 80;   // the loop runs without where the system grants none, and says so
    const std::vector<float> observations = read_floats(recording);
    for (int attempt = 0; options.period_ns <= slowest_ns; ++attempt) {
        options.stale_ns = options.period_ns * 3 / 2;
        rtrnn::Loop loop(stream, options);
        const std::size_t x_size = loop.input_size(), y_size = loop.output_size();
        std::vector<float> actions(observations.size() / x_size * y_size);
        if (loop.start() != rtrnn::Status::ok) throw std::runtime_error(rtrnn::last_error());
        if (attempt == 0 && *loop.notes()) std::fprintf(stderr, "%s\n", loop.notes());
        for (std::size_t t = 0; (t + 1) * x_size <= observations.size() && loop.counters().repeated == 0; ++t) {
            const rtrnn::Status status = exchange(loop, {observations.data() + t * x_size, x_size}, {actions.data() + t * y_size, y_size});
            if (!rtrnn::stepped(status)) throw rtrnn::Error(status, rtrnn::to_string(status));
        }
        loop.stop();
        if (loop.counters().repeated || loop.times(rtrnn::LoopTime::step).count != actions.size() / y_size) {
            if (attempt % attempts == attempts - 1) options.period_ns *= 2;
            continue;
        }
        print(actions, y_size);
        std::fprintf(stderr, "%" PRId64 " Hz, attempt %d\n", 1000000000 / options.period_ns, attempt + 1);
        report(loop);
        return 0;
    }
    std::fprintf(stderr, "this machine is too busy to play the recording back once without a repeated observation\n");
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: %s policy.rtrnn observations.f32\n", argv[0]);
        return 2;
    }
    try {
        return run(argv[1], argv[2]);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
