// What this machine can do at best: the caches it has, how fast they are read, how many multiply-adds it does.
//
// For benchmarks only: built into rtrnn._core and tools/bench, not into librtrnn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/kernels.hpp"
#include "plan/aligned.hpp"

namespace rtrnn {

struct CacheLevel {
    int level;
    std::size_t bytes;
};

// Data and unified caches of the CPU this thread runs on, smallest first; empty where the system does not tell.
std::vector<CacheLevel> cache_levels();

// The value below which `share` of `values` lie, as numpy.percentile gives it; 0 of none.
double quantile(std::vector<double> values, double share);

// The mean of the lower nine tenths; 0 of none. Finer than a median where a clock ticks in steps of 10 ns and more.
double lower_mean(std::vector<std::int64_t> values);

// What two reads of the clock with nothing between them show.
double timer_overhead_ns();

// A rate over all turns: its median, and the 90th percentile, which is closer to what a quiet machine would give.
struct Rate {
    double median, high;
};

struct ReadLimit {
    std::string name;          // "L1", "L2", "L3", "memory", or "same size" for a working set that was asked for
    std::size_t capacity;      // bytes of the cache; 0 for memory and for a size that was asked for
    std::size_t working_set;   // bytes that were read from end to end, again and again
    Rate gigabytes_per_second;
};

struct Limits {
    std::vector<ReadLimit> levels;   // caches, smallest first, then memory where its probe would fit into 256 MB
    std::vector<ReadLimit> sizes;    // the working sets that were asked for, in that order
    Rate gigaflops;                  // f32, one thread; a multiply-add counts as two
    double timer_ns;                 // two reads of the clock with nothing between them
    std::size_t turns;
};

// The level that `bytes` of weights are read from in every step; null without any.
const ReadLimit* level_of(const Limits& limits, std::size_t bytes) noexcept;

// Measures the limits in turns of a few milliseconds, so that callers can mix them with what they measure and a drift of the clock
// meets both. Of the ISAs that run here the fastest counts, which covers every width of vector.
class LimitProbes {
public:
    // Also reads working sets of these sizes, of at most 256 MB. Allocates; throws std::bad_alloc.
    explicit LimitProbes(const std::vector<std::size_t>& working_sets = {});

    void one_turn();
    Limits medians() const;

private:
    struct Probe {
        ReadLimit limit;
        std::size_t floats, chunk, at;       // a turn reads `chunk` floats from `at` on, `times` times
        std::vector<std::size_t> times;      // per ISA
        AlignedArray<float> data;
        std::vector<std::vector<double>> rates;   // per ISA
    };

    void add(const std::string& name, std::size_t capacity, std::size_t bytes, std::size_t chunk);
    static double read_ns(Probe& probe, const KernelTable& kernels, std::size_t times);

    std::vector<const KernelTable*> isas_;
    std::vector<Probe> probes_;
    std::size_t level_count_ = 0, turns_ = 0;
    std::vector<std::vector<double>> gigaflops_;
};

}  // namespace rtrnn
