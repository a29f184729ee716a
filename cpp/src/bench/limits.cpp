#include "bench/limits.hpp"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <string>

#include "bench/clock.hpp"
#include "kernels/dispatch.hpp"

#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace rtrnn {
namespace {

constexpr std::size_t block_floats = 512;          // what ProbeKernels::read takes
constexpr std::size_t memory_limit = 256u << 20;   // bytes that a benchmark may take to look past the caches
constexpr double turn_ns = 2e5;
constexpr std::size_t fma_turns = 20000;

#if defined(__linux__)
// "1024K" or "32M" as sysfs writes sizes; 0 for anything else.
std::size_t parse_size(const std::string& text) {
    std::size_t value = 0, i = 0;
    for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i) value = 10 * value + static_cast<std::size_t>(text[i] - '0');
    if (i == text.size()) return value;
    return text[i] == 'K' ? value << 10 : text[i] == 'M' ? value << 20 : 0;
}

std::string first_word(const std::string& path) {
    std::ifstream file(path);
    std::string word;
    file >> word;
    return word;
}
#endif

// The fastest ISA's.
Rate best(const std::vector<std::vector<double>>& rates) {
    Rate found{0, 0};
    for (const std::vector<double>& each : rates)
        if (const double median = quantile(each, 0.5); median > found.median) found = {median, quantile(each, 0.9)};
    return found;
}

}  // namespace

std::vector<CacheLevel> cache_levels() {
    std::vector<CacheLevel> found;
#if defined(__linux__)
    const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(std::max(0, sched_getcpu())) + "/cache/index";
    for (int i = 0; i < 16; ++i) {
        const std::string type = first_word(folder + std::to_string(i) + "/type");
        if (type.empty()) break;
        if (type != "Data" && type != "Unified") continue;
        const std::size_t level = parse_size(first_word(folder + std::to_string(i) + "/level"));
        const std::size_t bytes = parse_size(first_word(folder + std::to_string(i) + "/size"));
        if (level > 0 && level < 16 && bytes > 0) found.push_back({static_cast<int>(level), bytes});
    }
#elif defined(__APPLE__)
    const char* const names[] = {"hw.perflevel0.l1dcachesize", "hw.perflevel0.l2cachesize"};
    for (int i = 0; i < 2; ++i) {
        std::int64_t bytes = 0;
        std::size_t size = sizeof bytes;
        if (sysctlbyname(names[i], &bytes, &size, nullptr, 0) == 0 && bytes > 0) found.push_back({i + 1, static_cast<std::size_t>(bytes)});
    }
#endif
    std::sort(found.begin(), found.end(), [](const CacheLevel& a, const CacheLevel& b) { return a.bytes < b.bytes; });
    return found;
}

double quantile(std::vector<double> values, double share) {
    if (values.empty()) return 0;
    std::sort(values.begin(), values.end());
    const double at = share * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(at);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
}

const ReadLimit* level_of(const Limits& limits, std::size_t bytes) noexcept {
    for (const ReadLimit& level : limits.levels)
        if (level.capacity == 0 || bytes <= level.capacity) return &level;
    return limits.levels.empty() ? nullptr : &limits.levels.back();
}

double lower_mean(std::vector<std::int64_t> values) {
    const std::size_t count = std::max<std::size_t>(1, values.size() * 9 / 10);
    if (values.empty()) return 0;
    std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(count - 1), values.end());
    double sum = 0;
    for (std::size_t i = 0; i < count; ++i) sum += static_cast<double>(values[i]);
    return sum / static_cast<double>(count);
}

// The lower nine tenths: an interruption is not the timer's.
double timer_overhead_ns() {
    std::vector<std::int64_t> differences(5000);
    for (std::int64_t& difference : differences) {
        const auto begin = now_ns();
        difference = now_ns() - begin;
    }
    return lower_mean(std::move(differences));
}

LimitProbes::LimitProbes(const std::vector<std::size_t>& working_sets) {
    for (const std::string& name : available_isas()) isas_.push_back(find_kernels(name));
    if (isas_.size() > 1) isas_.pop_back();   // scalar, the last, is no limit where there are vectors
    gigaflops_.resize(isas_.size());
    const std::vector<CacheLevel> caches = cache_levels();
    for (std::size_t i = 0; i < caches.size(); ++i) {
        // Half a cache, for it holds other things too; of a large shared one no more than is surely this CPU's.
        const std::size_t below = i > 0 ? caches[i - 1].bytes : 0;
        const std::size_t half = caches[i].bytes / 2;
        const std::size_t bytes = below == 0 ? half : std::max(3 * below, std::min(half, 8 * below));
        if (bytes <= caches[i].bytes) add("L" + std::to_string(caches[i].level), caches[i].bytes, bytes, bytes);
    }
    const std::size_t far = caches.empty() ? memory_limit : 4 * caches.back().bytes;
    if (far <= memory_limit) add("memory", 0, far, std::min<std::size_t>(far, 4 << 20));
    level_count_ = probes_.size();
    for (std::size_t asked : working_sets) {
        const std::size_t bytes = std::min(asked, memory_limit);   // beyond it, more memory is not slower
        add("same size", 0, bytes, bytes);
    }
}

void LimitProbes::add(const std::string& name, std::size_t capacity, std::size_t bytes, std::size_t chunk) {
    Probe probe{};
    const auto whole_blocks = [](std::size_t size) { return std::max<std::size_t>(1, size / sizeof(float) / block_floats) * block_floats; };
    probe.floats = whole_blocks(bytes);
    probe.chunk = std::min(probe.floats, whole_blocks(chunk));
    probe.limit = {name, capacity, probe.floats * sizeof(float), {}};
    probe.data = aligned_array<float>(probe.floats);
    probe.rates.resize(isas_.size());
    for (const KernelTable* isa : isas_) {
        read_ns(probe, *isa, 1);
        const double once = std::max(1.0, read_ns(probe, *isa, 1));
        // A part of the memory that is read twice in a turn would come from a cache the second time.
        probe.times.push_back(probe.chunk < probe.floats ? 1 : static_cast<std::size_t>(std::max(1.0, turn_ns / once)));
    }
    probes_.push_back(std::move(probe));
}

double LimitProbes::read_ns(Probe& probe, const KernelTable& kernels, std::size_t times) {
    alignas(64) float sink[32];
    if (probe.at + probe.chunk > probe.floats) probe.at = 0;
    const float* from = probe.data.get() + probe.at;
    probe.at += probe.chunk;
    if (probe.chunk == probe.floats) kernels.probe.read(from, probe.chunk, 1, sink);   // what was read in between left its data in the caches
    const auto begin = now_ns();
    kernels.probe.read(from, probe.chunk, times, sink);
    return static_cast<double>(now_ns() - begin);
}

void LimitProbes::one_turn() {
    for (Probe& probe : probes_)
        for (std::size_t i = 0; i < isas_.size(); ++i) {
            const double bytes = static_cast<double>(probe.times[i] * probe.chunk * sizeof(float));
            probe.rates[i].push_back(bytes / std::max(1.0, read_ns(probe, *isas_[i], probe.times[i])));
        }
    for (std::size_t i = 0; i < isas_.size(); ++i) {
        // Towards the fixed point of x = x a + b, far from overflow and from denormals.
        alignas(64) float sink[64];
        for (float& value : sink) value = 0.5f;
        const auto begin = now_ns();
        isas_[i]->probe.fma(fma_turns, sink);
        const double taken = std::max(1.0, static_cast<double>(now_ns() - begin));
        gigaflops_[i].push_back(2.0 * fma_turns * isas_[i]->probe.fma_per_turn / taken);
    }
    ++turns_;
}

Limits LimitProbes::medians() const {
    Limits limits{};
    for (std::size_t p = 0; p < probes_.size(); ++p) {
        ReadLimit limit = probes_[p].limit;
        limit.gigabytes_per_second = best(probes_[p].rates);
        (p < level_count_ ? limits.levels : limits.sizes).push_back(limit);
    }
    limits.gigaflops = best(gigaflops_);
    limits.timer_ns = timer_overhead_ns();
    limits.turns = turns_;
    return limits;
}

}  // namespace rtrnn
