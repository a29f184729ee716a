// The time of one step of whole networks, without Python, beside what the machine can do at best.
//
//   stream_bench [FILE.rtrnn ...] [--cells gru,lstm,rnn] [--sizes 8,64x128] [--isa NAME] [--weights f32] [--rounds 31] [--cpu N] [--json]
//
// Without files: every cell at every size (input x hidden), and policies of the shape of two real ones. All networks and the
// limits take turns, round by round, in blocks of about a millisecond, on one CPU. Figures are those of `rtrnn bench`: median and
// 10th percentile over the rounds' means; percentiles of single calls, with the timer's own time in them.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench/clock.hpp"
#include "bench/limits.hpp"
#include "bench/step_timer.hpp"
#include "graph/file.hpp"
#include "kernels/dispatch.hpp"
#include "networks.hpp"
#include "report.hpp"

#if defined(__linux__)
#include <sched.h>
#endif

namespace {

using namespace rtrnn;
using namespace rtrnn::benchmarks;

constexpr double block_ns = 1e6;
const std::size_t part_count = 3;
const char* const part_names[] = {"step", "prepare", "finish"};

struct Options {
    std::vector<std::string> files, cells{"gru", "lstm", "rnn"}, sizes{"8", "16", "32", "64", "64x128", "64x256", "64x512", "64x1024"};
    std::string isa, weights = "f32";
    int rounds = 31, cpu = -1;
    bool json = false;
};

struct Case {
    Case(const std::string& label, const Graph& graph, const Options& options)
        : name(label), timer(std::make_shared<const Plan>(graph, PlanOptions{options.weights, options.isa}), random_rows(graph)),
          bytes(options.weights == "f32" ? weight_bytes(graph) : timer.stream().plan().constant_bytes()), operations(weight_bytes(graph) / 4 * 2) {}
    std::string name;
    StepTimer timer;
    std::size_t bytes, operations;             // that a step reads; that it does
    std::size_t count = 1;                     // steps of about a block
    std::vector<double> means[part_count];     // of each round: a block's mean; for prepare and finish that of single calls
    std::vector<std::int64_t> singles[part_count];
};

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> parts;
    for (std::size_t at = 0; at <= text.size();) {
        const std::size_t end = std::min(text.find(',', at), text.size());
        if (end > at) parts.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return parts;
}

Options parse(int argc, char** argv) {
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        const auto value = [&]() -> std::string {
            if (i + 1 == argc) throw std::invalid_argument(word + " needs a value");
            return argv[++i];
        };
        if (word == "--cells") options.cells = split(value());
        else if (word == "--sizes") options.sizes = split(value());
        else if (word == "--isa") options.isa = value();
        else if (word == "--weights") options.weights = value();
        else if (word == "--rounds") options.rounds = std::atoi(value().c_str());
        else if (word == "--cpu") options.cpu = std::atoi(value().c_str());
        else if (word == "--json") options.json = true;
        else if (word.rfind("--", 0) == 0) throw std::invalid_argument("unknown option " + word + "; see the head of stream_bench.cpp");
        else options.files.push_back(word);
    }
    if (options.rounds < 1) throw std::invalid_argument("--rounds: expected a number above 0");
    return options;
}

// Keeps this thread on `cpu`, or on the last it may use; -1 where that is impossible.
int pin(int cpu) {
#if defined(__linux__)
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof set, &set);
    int last = -1;
    for (int i = 0; i < CPU_SETSIZE; ++i)
        if (CPU_ISSET(i, &set)) last = i;
    const int chosen = cpu < 0 ? last : cpu;
    if (chosen < 0 || chosen >= CPU_SETSIZE || !CPU_ISSET(chosen, &set)) throw std::invalid_argument("--cpu: CPU " + std::to_string(chosen) + " cannot be used");
    CPU_ZERO(&set);
    CPU_SET(chosen, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0 ? chosen : -1;
#else
    (void)cpu;
    return -1;
#endif
}

// Warms up and finds how many steps take about a block.
void calibrate(Case& one) {
    const auto begin = now_ns();
    double fastest = 1e12;
    while (static_cast<double>(now_ns() - begin) < 20 * block_ns) {
        const auto start = now_ns();
        one.timer.block(one.count);
        const double taken = static_cast<double>(now_ns() - start);
        fastest = std::min(fastest, taken / static_cast<double>(one.count));
        if (taken < block_ns / 2) one.count *= 2;
    }
    one.count = static_cast<std::size_t>(std::max(1.0, block_ns / fastest));
}

void one_turn(Case& one) {
    one.timer.block(std::min<std::size_t>(20, one.count));   // the network before left its data in the caches
    const auto begin = now_ns();
    one.timer.block(one.count);
    one.means[0].push_back(static_cast<double>(now_ns() - begin) / static_cast<double>(one.count));
    for (std::size_t part = 0; part < part_count; ++part) {
        const std::size_t before = one.singles[part].size();
        one.singles[part].resize(before + one.count);
        one.timer.singles(one.count, static_cast<TimedPart>(part), one.singles[part].data() + before);
        if (part > 0) one.means[part].push_back(lower_mean({one.singles[part].begin() + static_cast<std::ptrdiff_t>(before), one.singles[part].end()}));
    }
}

int run(const Options& options, const std::string& command) {
    const int cpu = pin(options.cpu);
    std::deque<Case> cases;
    for (const std::string& file : options.files) cases.emplace_back(file, load_graph(file), options);
    if (options.files.empty()) {
        std::vector<std::string> names;
        for (const std::string& cell : options.cells)
            for (const std::string& size : options.sizes) names.push_back(cell + " " + size);
        names.insert(names.end(), {"g1", "raptor"});
        for (const std::string& name : names) cases.emplace_back(name, named_network(name), options);
    }
    LimitProbes limits;
    for (Case& one : cases) calibrate(one);
    for (int round = 0; round < options.rounds; ++round) {
        limits.one_turn();
        for (std::size_t i = 0; i < cases.size(); ++i) one_turn(cases[(i + static_cast<std::size_t>(round)) % cases.size()]);
    }
    const Limits found = limits.medians();
    std::vector<Row> rows;
    for (const Case& one : cases) {
        for (std::size_t part = 0; part < part_count; ++part) {
            const bool whole = part == 0;
            const double timer = whole ? 0 : found.timer_ns;
            Row row{one.name, part_names[part], 0, 0, percentiles(one.singles[part]), whole ? one.bytes : 0, whole ? one.operations : 0, "", 0, 0};
            row.median_ns = std::max(0.1, quantile(one.means[part], 0.5) - timer);
            row.low_ns = std::max(0.1, quantile(one.means[part], 0.1) - timer);
            if (whole) set_shares(row, found);
            rows.push_back(row);
        }
    }
    const std::string isa = select_kernels(options.isa).name;
    if (options.json) print_json(rows, found, isa, options.weights, cpu, command);
    else print_table(rows, found, isa, options.weights, cpu);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        std::string command;
        for (int i = 0; i < argc; ++i) command += (i ? " " : "") + std::string(argv[i]);
        return run(parse(argc, argv), command);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "stream_bench: %s\n", error.what());
        return 1;
    }
}
