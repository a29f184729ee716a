// Where a step gains by several threads: each network with 1 to N threads, in turns.
//
//   thread_bench [--cells gru,lstm] [--sizes 64x256,64x1024] [--weights f32] [--threads 2] [--part BYTES] [--rounds 15]
//
// Every figure is the median over the rounds of a block's mean step, in microseconds; then its ratio to one thread, the share of
// parts that workers gave, and the megabytes of weights.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench/clock.hpp"
#include "bench/limits.hpp"
#include "bench/step_timer.hpp"
#include "networks.hpp"

namespace {

using namespace rtrnn;
using namespace rtrnn::benchmarks;

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> parts(1);
    for (const char c : text)
        if (c == ',') parts.emplace_back();
        else parts.back() += c;
    return parts;
}

struct Case {
    std::unique_ptr<StepTimer> timer;
    std::vector<double> means;
    std::size_t steps = 0;
};

int run(int argc, char** argv) {
    std::vector<std::string> cells{"gru", "lstm"}, sizes{"64x64", "64x96", "64x128", "64x192", "64x256", "64x384", "64x512", "64x1024"};
    PlanOptions options;
    int threads = 2, rounds = 15;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string word = argv[i], value = argv[i + 1];
        if (word == "--cells") cells = split(value);
        else if (word == "--sizes") sizes = split(value);
        else if (word == "--weights") options.weights = value;
        else if (word == "--threads") threads = std::atoi(value.c_str());
        else if (word == "--part") options.threads.smallest_part_bytes = std::atoll(value.c_str());
        else if (word == "--rounds") rounds = std::atoi(value.c_str());
        else throw std::invalid_argument("unknown option " + word + "; see the head of thread_bench.cpp");
    }
    std::printf("%-14s %8s", "network", "MB");
    for (int t = 1; t <= threads; ++t) std::printf("  %6d thread%s        ", t, t > 1 ? "s" : " ");
    std::printf("\n");
    for (const std::string& cell : cells)
        for (const std::string& size : sizes) {
            const Graph graph = named_network(cell + " " + size);
            std::vector<Case> cases;
            for (int t = 1; t <= threads; ++t) {
                options.threads.count = t;
                cases.push_back({std::make_unique<StepTimer>(std::make_shared<const Plan>(graph, options), random_rows(graph)), {}, 0});
            }
            for (int round = 0; round < rounds; ++round)
                for (Case& one : cases) {
                    one.timer->block(20);
                    const auto begin = now_ns();
                    std::size_t steps = 0;
                    for (; now_ns() - begin < 4000000; steps += 10) one.timer->block(10);
                    one.means.push_back(static_cast<double>(now_ns() - begin) / static_cast<double>(steps));
                    one.steps += steps + 20;
                }
            std::printf("%-14s %8.2f", (cell + " " + size).c_str(), static_cast<double>(cases[0].timer->stream().plan().constant_bytes()) / 1e6);
            const double single = quantile(cases[0].means, 0.5);
            for (const Case& one : cases) {
                const double median = quantile(one.means, 0.5);
                std::printf("  %8.2f %5.2f %5.2f", median / 1e3, median / single,
                            static_cast<double>(one.timer->stream().parts_by_workers()) / static_cast<double>(one.steps));
            }
            std::printf("\n");
        }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "thread_bench: %s\n", error.what());
        return 1;
    }
}
