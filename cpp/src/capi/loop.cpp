// rtrnn.h: the loop.
#include <algorithm>
#include <cstring>

#include "capi/calls.hpp"

namespace {

using rtrnn::LoopCounter;
using rtrnn::LoopTime;
using rtrnn::capi::fail;
using rtrnn::capi::guarded;
using rtrnn::capi::valid;

static_assert(static_cast<int>(LoopTime::step) == RTRNN_LOOP_STEP && static_cast<int>(LoopTime::response) == RTRNN_LOOP_RESPONSE &&
              static_cast<int>(LoopTime::wake_up) == RTRNN_LOOP_WAKE_UP && static_cast<int>(LoopTime::prepare) == RTRNN_LOOP_PREPARE);

rtrnn::LoopOptions options_of(const rtrnn_loop_options& options) {
    rtrnn::LoopOptions made;
    made.period_ns = options.period_ns;
    made.deadline_ns = options.deadline_ns;
    made.lead_ns = options.lead_ns;
    made.stale_ns = options.stale_ns;
    if (options.watchdog) made.watchdog.assign(options.watchdog, options.watchdog + options.watchdog_size);
    made.thread = {options.priority, options.cpu, options.lock_memory != 0};
    return made;
}

}  // namespace

extern "C" {

rtrnn_status rtrnn_loop_create(const rtrnn_stream* stream, const rtrnn_loop_options* options, rtrnn_loop** loop) noexcept {
    if (!loop) return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_loop_create: the address for the loop is NULL");
    *loop = nullptr;
    if (!valid(stream)) return fail(RTRNN_INVALID_HANDLE, "rtrnn_loop_create: the stream is NULL, freed or not a stream");
    rtrnn_loop_options found = RTRNN_LOOP_OPTIONS_INIT;
    if (options) {
        if (options->struct_size < sizeof found) return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_loop_options: struct_size is too small; use RTRNN_LOOP_OPTIONS_INIT");
        std::memcpy(&found, options, sizeof found);
    }
    if (found.watchdog && found.watchdog_size == 0) return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_loop_options: a watchdog action without values");
    return guarded([&] {
        auto made = std::make_unique<rtrnn_loop>();
        made->loop = std::make_unique<rtrnn::Loop>(rtrnn::Stream(stream->stream), options_of(found));
        *loop = made.release();
    });
}

rtrnn_status rtrnn_loop_free(rtrnn_loop* loop) noexcept {
    if (valid(loop)) loop->loop->stop();
    return rtrnn::capi::release(loop, "rtrnn_loop_free: freed before, or not a loop");
}

rtrnn_status rtrnn_loop_start(rtrnn_loop* loop) noexcept {
    if (!valid(loop)) return fail(RTRNN_INVALID_HANDLE, "rtrnn_loop_start: the loop is NULL, freed or not a loop");
    return guarded([&] {
        loop->loop->start();
        std::string notes;
        for (const std::string& note : loop->loop->notes()) notes += (notes.empty() ? "" : "\n") + note;
        loop->notes = std::move(notes);
    });
}

rtrnn_status rtrnn_loop_stop(rtrnn_loop* loop) noexcept {
    if (!valid(loop)) return fail(RTRNN_INVALID_HANDLE, "rtrnn_loop_stop: the loop is NULL, freed or not a loop");
    loop->loop->stop();
    return RTRNN_OK;
}

int rtrnn_loop_running(const rtrnn_loop* loop) noexcept { return valid(loop) && loop->loop->running(); }
const char* rtrnn_loop_notes(const rtrnn_loop* loop) noexcept { return valid(loop) ? loop->notes.c_str() : ""; }
size_t rtrnn_loop_input_size(const rtrnn_loop* loop) noexcept { return valid(loop) ? loop->loop->input_size() : 0; }
size_t rtrnn_loop_output_size(const rtrnn_loop* loop) noexcept { return valid(loop) ? loop->loop->output_size() : 0; }

// The real-time ones leave no message: they take no memory.

rtrnn_status rtrnn_loop_observe(rtrnn_loop* loop, const float* values, size_t size) noexcept {
    if (!valid(loop)) return RTRNN_INVALID_HANDLE;
    if (!values || size != loop->loop->input_size()) return RTRNN_INVALID_ARGUMENT;
    loop->loop->observe(values);
    return RTRNN_OK;
}

rtrnn_status rtrnn_loop_action(const rtrnn_loop* loop, float* values, size_t size, rtrnn_loop_action_info* info) noexcept {
    if (!valid(loop)) return RTRNN_INVALID_HANDLE;
    if (!values || size != loop->loop->output_size()) return RTRNN_INVALID_ARGUMENT;
    const rtrnn::LoopAction found = loop->loop->action(values);
    if (info) *info = {found.sequence, found.age_ns, static_cast<rtrnn_status>(found.status), found.watchdog};
    return RTRNN_OK;
}

rtrnn_status rtrnn_loop_reset(rtrnn_loop* loop) noexcept {
    if (!valid(loop)) return RTRNN_INVALID_HANDLE;
    loop->loop->reset();
    return RTRNN_OK;
}

rtrnn_status rtrnn_loop_get_counters(const rtrnn_loop* loop, rtrnn_loop_counters* counters) noexcept {
    if (!valid(loop)) return RTRNN_INVALID_HANDLE;
    if (!counters) return RTRNN_INVALID_ARGUMENT;
    const rtrnn::LoopCounters found = loop->loop->counters();
    const auto of = [&](LoopCounter counter) { return found[static_cast<std::size_t>(counter)]; };
    *counters = {of(LoopCounter::periods), of(LoopCounter::late),     of(LoopCounter::late_in_step), of(LoopCounter::skipped),
                 of(LoopCounter::stale),   of(LoopCounter::repeated), of(LoopCounter::nonfinite)};
    return RTRNN_OK;
}

rtrnn_status rtrnn_loop_get_times(const rtrnn_loop* loop, rtrnn_loop_time which, rtrnn_loop_times* times, uint64_t* counts) noexcept {
    if (!valid(loop)) return fail(RTRNN_INVALID_HANDLE, "rtrnn_loop_get_times: the loop is NULL, freed or not a loop");
    if (!times || static_cast<std::size_t>(which) >= rtrnn::loop_times)
        return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_loop_get_times: nowhere to write, or no such time");
    return guarded([&] {
        const rtrnn::HistogramSnapshot found = loop->loop->times(static_cast<LoopTime>(which));
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
    });
}

size_t rtrnn_histogram_buckets(void) noexcept { return rtrnn::histogram_buckets; }
int64_t rtrnn_histogram_upper_ns(size_t bucket) noexcept {
    return bucket < rtrnn::histogram_buckets ? rtrnn::Histogram::upper_ns(bucket) : INT64_MAX;
}

}  // extern "C"
