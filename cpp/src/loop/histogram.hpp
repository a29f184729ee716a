// Histogram: durations in nanoseconds in buckets of fixed number, narrow for short durations and wide for long ones.
//
// Every power of two is divided into 64 buckets of equal width (the log-linear layout of HdrHistogram), so that a percentile is at most
// 1/64 above the exact one; durations below 128 ns are exact, those from 2^40 ns (18 minutes) on count as the longest bucket's. One
// thread records, without a lock and without read-modify-write operations; any thread may take a snapshot meanwhile.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "export.hpp"
#include "rtrnn/realtime.h"

namespace rtrnn {

constexpr int histogram_sub_bits = 6, histogram_value_bits = 40;
constexpr std::size_t histogram_buckets = std::size_t{histogram_value_bits - histogram_sub_bits + 1} << histogram_sub_bits;

struct HistogramSnapshot {
    std::vector<std::uint64_t> counts = std::vector<std::uint64_t>(histogram_buckets);
    std::uint64_t count = 0;
    std::int64_t min_ns = 0, max_ns = 0;   // exact; 0 when nothing was recorded
    double mean_ns = 0;

    // The least duration that `percent` of all durations do not exceed (nearest rank), as its bucket's upper end, at most max_ns.
    std::int64_t percentile_ns(double percent) const noexcept;
};

class RTRNN_EXPORT Histogram {
public:
    // Real-time safe. One thread at a time; durations below 0 count as 0.
    void record(std::int64_t duration_ns) noexcept RTRNN_NONBLOCKING;
    HistogramSnapshot snapshot() const;

    static std::size_t bucket_of(std::int64_t duration_ns) noexcept RTRNN_NONBLOCKING;
    // The longest duration that falls into a bucket.
    static std::int64_t upper_ns(std::size_t bucket) noexcept RTRNN_NONBLOCKING;

private:
    std::array<std::atomic<std::uint64_t>, histogram_buckets> counts_{};
    std::atomic<std::int64_t> min_{INT64_MAX}, max_{0};
    std::atomic<std::uint64_t> sum_{0};
};

}  // namespace rtrnn
