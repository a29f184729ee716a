// Rows of figures and how they are printed: a table, or the JSON of `rtrnn bench --grid --json`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/limits.hpp"

namespace rtrnn::benchmarks {

struct Percentiles {
    double p10, p50, p99, p999, largest;
    std::size_t calls;
};

struct Row {
    std::string network, form;   // form: step, prepare, finish
    double median_ns, low_ns;
    Percentiles singles;         // of single calls, the timer's own time included
    std::size_t weight_bytes;    // read per step; 0: not known for this part
    std::size_t operations;      // two per weight
    std::string level;           // where weights of that size live
    double read_percent = 0, flop_percent = 0;   // of that level's bandwidth, of the multiply-add peak
};

Percentiles percentiles(const std::vector<std::int64_t>& ns);
// What the row reads and computes per second as a share of the machine's limits, by the medians of both.
void set_shares(Row& row, const Limits& limits);
void print_table(const std::vector<Row>& rows, const Limits& limits, const std::string& isa, const std::string& weights, int cpu);
void print_json(const std::vector<Row>& rows, const Limits& limits, const std::string& isa, const std::string& weights, int cpu,
                const std::string& command);

}  // namespace rtrnn::benchmarks
