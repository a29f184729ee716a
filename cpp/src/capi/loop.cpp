// The loop's part of rtrnn.h.
#include "loop/loop.hpp"

#include <algorithm>
#include <cstring>
#include <system_error>

#include "capi/capi.hpp"
#include "capi/guard.hpp"
#include "rtrnn/rtrnn.h"

struct rtrnn_loop {
    rtrnn::Loop loop;
    std::string notes;
};

namespace {

using rtrnn::LoopCounter;
using rtrnn::LoopTime;

static_assert(static_cast<int>(LoopTime::step) == RTRNN_LOOP_STEP && static_cast<int>(LoopTime::response) == RTRNN_LOOP_RESPONSE &&
              static_cast<int>(LoopTime::wake_up) == RTRNN_LOOP_WAKE_UP && static_cast<int>(LoopTime::prepare) == RTRNN_LOOP_PREPARE);

rtrnn_status invalid(const char* message) noexcept {
    rtrnn::set_last_error(message);
    return RTRNN_INVALID_ARGUMENT;
}

}  // namespace

extern "C" {

void rtrnn_loop_options_init(rtrnn_loop_options* options) noexcept {
    if (!options) return;
    const rtrnn::LoopOptions defaults;
    *options = {};
    options->struct_size = sizeof *options;
    options->period_ns = defaults.period_ns;
    options->cpu = defaults.thread.cpu;
}

rtrnn_loop* rtrnn_loop_create(const rtrnn_stream* stream, const rtrnn_loop_options* options) noexcept {
    return rtrnn::guarded([&]() -> rtrnn_loop* {
        rtrnn_loop_options found;
        rtrnn_loop_options_init(&found);
        if (!stream) throw rtrnn::Error(rtrnn::ErrorKind::invalid_argument, "rtrnn_loop_create: expected a stream, found NULL");
        if (options) {
            // Smaller: a caller compiled against an earlier header, whose missing fields have their defaults.
            if (options->struct_size < sizeof(std::size_t) || options->struct_size > sizeof found)
                throw rtrnn::Error(rtrnn::ErrorKind::invalid_argument, "rtrnn_loop_options: unknown struct_size; use rtrnn_loop_options_init");
            std::memcpy(&found, options, options->struct_size);
        }
        rtrnn::LoopOptions made;
        made.period_ns = found.period_ns;
        made.deadline_ns = found.deadline_ns;
        made.lead_ns = found.lead_ns;
        made.stale_ns = found.stale_ns;
        if (found.watchdog) {
            if (found.watchdog_size == 0) throw rtrnn::Error(rtrnn::ErrorKind::invalid_argument, "rtrnn_loop_options: a watchdog action without values");
            made.watchdog.assign(found.watchdog, found.watchdog + found.watchdog_size);
        }
        made.thread = {found.priority, found.cpu, found.lock_memory != 0};
        return new rtrnn_loop{{rtrnn::Stream(stream->stream), std::move(made)}, {}};
    });
}

void rtrnn_loop_free(rtrnn_loop* loop) noexcept { delete loop; }

rtrnn_status rtrnn_loop_start(rtrnn_loop* loop) noexcept {
    if (!loop) return invalid("rtrnn_loop_start: expected a loop, found NULL");
    if (loop->loop.running()) return invalid("rtrnn_loop_start: the loop runs already; expected a stop first");
    return rtrnn::guarded(
        [&] {
            loop->loop.start();
            std::string notes;
            for (const std::string& note : loop->loop.notes()) notes += (notes.empty() ? "" : "\n") + note;
            loop->notes = std::move(notes);
            return RTRNN_OK;
        },
        RTRNN_SYSTEM_ERROR);
}

rtrnn_status rtrnn_loop_stop(rtrnn_loop* loop) noexcept {
    if (!loop) return invalid("rtrnn_loop_stop: expected a loop, found NULL");
    loop->loop.stop();
    return RTRNN_OK;
}

int rtrnn_loop_running(const rtrnn_loop* loop) noexcept { return loop && loop->loop.running(); }
const char* rtrnn_loop_notes(const rtrnn_loop* loop) noexcept { return loop ? loop->notes.c_str() : ""; }
size_t rtrnn_loop_input_size(const rtrnn_loop* loop) noexcept { return loop ? loop->loop.input_size() : 0; }
size_t rtrnn_loop_output_size(const rtrnn_loop* loop) noexcept { return loop ? loop->loop.output_size() : 0; }

// The real-time ones leave no message: they take no memory.

rtrnn_status rtrnn_loop_observe(rtrnn_loop* loop, const float* values, size_t size) noexcept {
    if (!loop || !values || size != loop->loop.input_size()) return RTRNN_INVALID_ARGUMENT;
    loop->loop.observe(values);
    return RTRNN_OK;
}

rtrnn_status rtrnn_loop_action(const rtrnn_loop* loop, float* values, size_t size, rtrnn_loop_action_info* info) noexcept {
    if (!loop || !values || size != loop->loop.output_size()) return RTRNN_INVALID_ARGUMENT;
    const rtrnn::LoopAction found = loop->loop.action(values);
    if (info) *info = {found.sequence, found.age_ns, static_cast<rtrnn_status>(found.status), found.watchdog};
    return RTRNN_OK;
}

rtrnn_status rtrnn_loop_reset(rtrnn_loop* loop) noexcept {
    if (!loop) return RTRNN_INVALID_ARGUMENT;
    loop->loop.reset();
    return RTRNN_OK;
}

rtrnn_status rtrnn_loop_get_counters(const rtrnn_loop* loop, rtrnn_loop_counters* counters) noexcept {
    if (!loop || !counters) return RTRNN_INVALID_ARGUMENT;
    const rtrnn::LoopCounters found = loop->loop.counters();
    const auto of = [&](LoopCounter counter) { return found[static_cast<std::size_t>(counter)]; };
    *counters = {of(LoopCounter::periods), of(LoopCounter::late),     of(LoopCounter::late_in_step), of(LoopCounter::skipped),
                 of(LoopCounter::stale),   of(LoopCounter::repeated), of(LoopCounter::nonfinite)};
    return RTRNN_OK;
}

rtrnn_status rtrnn_loop_get_times(const rtrnn_loop* loop, rtrnn_loop_time which, rtrnn_loop_times* times, uint64_t* counts) noexcept {
    if (!loop || !times || static_cast<std::size_t>(which) >= rtrnn::loop_times)
        return invalid("rtrnn_loop_get_times: expected a loop, a known time and where to write");
    return rtrnn::guarded(
        [&] {
            const rtrnn::HistogramSnapshot found = loop->loop.times(static_cast<LoopTime>(which));
            *times = {found.count,
                      found.min_ns,
                      found.max_ns,
                      found.mean_ns,
                      found.percentile_ns(50),
                      found.percentile_ns(90),
                      found.percentile_ns(99),
                      found.percentile_ns(99.9),
                      found.percentile_ns(99.99)};
            if (counts) std::copy(found.counts.begin(), found.counts.end(), counts);
            return RTRNN_OK;
        },
        RTRNN_SYSTEM_ERROR);
}

size_t rtrnn_histogram_buckets(void) noexcept { return rtrnn::histogram_buckets; }
int64_t rtrnn_histogram_upper_ns(size_t bucket) noexcept {
    return bucket < rtrnn::histogram_buckets ? rtrnn::Histogram::upper_ns(bucket) : INT64_MAX;
}

}  // extern "C"
