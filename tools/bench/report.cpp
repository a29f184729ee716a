#include "report.hpp"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>

#include "graph/json.hpp"
#include "rtrnn/rtrnn.h"

namespace rtrnn::benchmarks {
namespace {

std::string processor() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);)
        if (line.rfind("model name", 0) == 0 && line.find(": ") != std::string::npos) return line.substr(line.find(": ") + 2);
    return "unknown processor";
}

std::string today() {
    const std::time_t now = std::time(nullptr);
    char text[32] = "";
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
    return text;
}

json::Value read_limit(const ReadLimit& limit) {
    return json::Object{{"name", limit.name},
                        {"capacity", static_cast<std::int64_t>(limit.capacity)},
                        {"working_set", static_cast<std::int64_t>(limit.working_set)},
                        {"gigabytes_per_second", json::Array{limit.gigabytes_per_second.median, limit.gigabytes_per_second.high}}};
}

}  // namespace

Percentiles percentiles(const std::vector<std::int64_t>& ns) {
    const std::vector<double> values(ns.begin(), ns.end());
    return {quantile(values, 0.1), quantile(values, 0.5), quantile(values, 0.99), quantile(values, 0.999), quantile(values, 1), values.size()};
}

void set_shares(Row& row, const Limits& limits) {
    const auto bytes = static_cast<double>(row.weight_bytes);
    if (const ReadLimit* level = level_of(limits, row.weight_bytes)) {
        row.level = level->name;
        row.read_percent = 100 * bytes / row.median_ns / level->gigabytes_per_second.median;
    }
    row.flop_percent = 100 * static_cast<double>(row.operations) / row.median_ns / limits.gigaflops.median;
}

void print_table(const std::vector<Row>& rows, const Limits& limits, const std::string& isa, const std::string& weights, int cpu) {
    std::printf("%s, CPU %d, %s, %s weights, one thread\n", processor().c_str(), cpu, isa.c_str(), weights.c_str());
    std::printf("limits, median (90th percentile) of %zu turns:", limits.turns);
    for (const ReadLimit& level : limits.levels)
        std::printf(" %s %.0f (%.0f) GB/s,", level.name.c_str(), level.gigabytes_per_second.median, level.gigabytes_per_second.high);
    std::printf(" multiply-add %.0f (%.0f) GFLOP/s, timer %.0f ns\n", limits.gigaflops.median, limits.gigaflops.high, limits.timer_ns);
    std::printf("%-16s %-8s %10s %10s %10s %10s %10s %8s\n", "ns", "", "median", "low", "p50", "p99.9", "of reads", "of FMA");
    for (const Row& row : rows) {
        std::printf("%-16s %-8s %10.1f %10.1f %10.0f %10.0f", row.network.c_str(), row.form.c_str(), row.median_ns, row.low_ns, row.singles.p50, row.singles.p999);
        if (row.weight_bytes > 0) std::printf("   %s %3.0f %% %6.0f %%", row.level.c_str(), row.read_percent, row.flop_percent);
        std::printf("\n");
    }
    std::printf("median, low (10th percentile): of the rounds' means, the timer's time taken off. p50, p99.9: single calls, with the timer's\n");
}

void print_json(const std::vector<Row>& rows, const Limits& limits, const std::string& isa, const std::string& weights, int cpu,
                const std::string& command) {
    json::Array levels, results, caches;
    for (const ReadLimit& level : limits.levels) levels.push_back(read_limit(level));
    for (const CacheLevel& cache : cache_levels())
        caches.push_back(json::Object{{"name", "L" + std::to_string(cache.level)}, {"bytes", static_cast<std::int64_t>(cache.bytes)}});
    for (const Row& row : rows) {
        json::Object one{{"network", row.network}, {"form", row.form}, {"precision", weights}, {"engine", std::string("rtrnn C++")},
                         {"median_ns", row.median_ns}, {"low_ns", row.low_ns}, {"p50_ns", row.singles.p50}, {"p99_ns", row.singles.p99},
                         {"p999_ns", row.singles.p999}, {"largest_ns", row.singles.largest}, {"calls", static_cast<std::int64_t>(row.singles.calls)}};
        if (row.weight_bytes > 0) {
            one.emplace_back("weight_bytes", static_cast<std::int64_t>(row.weight_bytes));
            one.emplace_back("level", row.level);
            one.emplace_back("read_percent", row.read_percent);
            one.emplace_back("flop_percent", row.flop_percent);
        }
        results.push_back(std::move(one));
    }
#if defined(__VERSION__)
    const std::string compiler = __VERSION__;
#else
    const std::string compiler = "unknown";
#endif
    const json::Object machine{{"processor", processor()}, {"caches", caches}, {"isa", isa}, {"cpu", std::int64_t{cpu}},
                               {"versions", json::Object{{"rtrnn", std::string(rtrnn_version())}, {"compiler", compiler}}},
                               {"date", today()}, {"command", command}};
    const json::Object found{{"levels", levels}, {"gigaflops", json::Array{limits.gigaflops.median, limits.gigaflops.high}}, {"timer_ns", limits.timer_ns},
                             {"turns", static_cast<std::int64_t>(limits.turns)}};
    std::printf("%s\n", json::write(json::Object{{"machine", machine}, {"limits", found}, {"results", results}}).c_str());
}

}  // namespace rtrnn::benchmarks
