#include "loop/histogram.hpp"

#include <algorithm>
#include <cmath>

namespace rtrnn {
namespace {

constexpr std::uint64_t sub_count = std::uint64_t{1} << histogram_sub_bits;

// Position of the highest bit; value is not 0.
int highest_bit(std::uint64_t value) noexcept {
    int bit = 0;
    for (int half = 32; half; half /= 2)
        if (value >> half) {
            value >>= half;
            bit += half;
        }
    return bit;
}

}  // namespace

std::size_t Histogram::bucket_of(std::int64_t duration_ns) noexcept RTRNN_NONBLOCKING {
    const std::uint64_t value = duration_ns < 0 ? 0 : static_cast<std::uint64_t>(duration_ns);
    if (value >> histogram_value_bits) return histogram_buckets - 1;
    if (value < sub_count) return static_cast<std::size_t>(value);
    const int shift = highest_bit(value) - histogram_sub_bits;
    return static_cast<std::size_t>(static_cast<std::uint64_t>(shift) * sub_count + (value >> shift));
}

std::int64_t Histogram::upper_ns(std::size_t bucket) noexcept RTRNN_NONBLOCKING {
    if (bucket < sub_count) return static_cast<std::int64_t>(bucket);
    const std::uint64_t shift = bucket / sub_count - 1;
    return static_cast<std::int64_t>(((sub_count + bucket % sub_count + 1) << shift) - 1);
}

void Histogram::record(std::int64_t duration_ns) noexcept RTRNN_NONBLOCKING {
    const std::int64_t value = duration_ns < 0 ? 0 : duration_ns;
    if (value < min_.load(std::memory_order_relaxed)) min_.store(value, std::memory_order_relaxed);
    if (value > max_.load(std::memory_order_relaxed)) max_.store(value, std::memory_order_relaxed);
    sum_.store(sum_.load(std::memory_order_relaxed) + static_cast<std::uint64_t>(value), std::memory_order_relaxed);
    // Last, with release: a snapshot that counts a duration has it in the extremes too.
    std::atomic<std::uint64_t>& count = counts_[bucket_of(value)];
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

HistogramSnapshot Histogram::snapshot() const {
    HistogramSnapshot found;
    for (std::size_t i = 0; i < histogram_buckets; ++i) {
        found.counts[i] = counts_[i].load(std::memory_order_acquire);
        found.count += found.counts[i];
    }
    if (found.count == 0) return found;
    found.min_ns = min_.load(std::memory_order_relaxed);
    found.max_ns = max_.load(std::memory_order_relaxed);
    found.mean_ns = static_cast<double>(sum_.load(std::memory_order_relaxed)) / static_cast<double>(found.count);
    return found;
}

std::int64_t HistogramSnapshot::percentile_ns(double percent) const noexcept {
    const double rank = std::ceil(std::clamp(percent, 0.0, 100.0) / 100 * static_cast<double>(count));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        seen += counts[i];
        if (seen > 0 && static_cast<double>(seen) >= rank) return std::clamp(Histogram::upper_ns(i), min_ns, max_ns);
    }
    return max_ns;
}

}  // namespace rtrnn
