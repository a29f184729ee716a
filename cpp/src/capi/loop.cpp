// The loop's part of rtrnn.h.
#include "loop/loop.hpp"

#include <algorithm>
#include <cstring>
#include <system_error>

#include "capi/calls.hpp"

struct rtrnn_loop {
    static constexpr std::uint32_t live = 0x724c6f6f;
    std::uint32_t mark = live;
    mutable rtrnn::capi::Busy busy;   // a thread that hands over an observation
    std::unique_ptr<rtrnn::Loop> loop;
    std::string notes = {};
};

namespace {

using rtrnn::Error;
using rtrnn::ErrorKind;
using rtrnn::LoopCounter;
using rtrnn::LoopTime;
using rtrnn::capi::Claim;
using rtrnn::capi::fail;
using rtrnn::capi::guarded;
using rtrnn::capi::valid;

static_assert(static_cast<int>(LoopTime::step) == RTRNN_LOOP_STEP && static_cast<int>(LoopTime::response) == RTRNN_LOOP_RESPONSE &&
              static_cast<int>(LoopTime::wake_up) == RTRNN_LOOP_WAKE_UP && static_cast<int>(LoopTime::prepare) == RTRNN_LOOP_PREPARE);

}  // namespace

extern "C" {

rtrnn_status rtrnn_loop_options_init(rtrnn_loop_options* options, size_t struct_size) noexcept {
    if (!options || struct_size != sizeof *options)   // the first version: no caller can have another yet
        return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_loop_options_init: the options are NULL or of an unknown size");
    const rtrnn::LoopOptions defaults;
    *options = {};
    options->struct_size = sizeof *options;
    options->period_ns = defaults.period_ns;
    options->cpu = defaults.thread.cpu;
    return RTRNN_OK;
}

rtrnn_status rtrnn_loop_create(const rtrnn_stream* stream, const rtrnn_loop_options* options, rtrnn_loop** loop) noexcept {
    if (!loop) return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_loop_create: the address for the loop is NULL");
    *loop = nullptr;
    if (!valid(stream)) return fail(RTRNN_INVALID_HANDLE, "rtrnn_loop_create: the stream is NULL, freed or not a stream");
    const Claim claim(stream);
    if (!claim) return fail(RTRNN_BUSY, "rtrnn_loop_create: another thread is using the stream");
    return guarded([&] {
        rtrnn_loop_options found;
        rtrnn_loop_options_init(&found, sizeof found);
        if (options) found = rtrnn::capi::read_options(*options, found, sizeof found, "rtrnn_loop_options");
        rtrnn::LoopOptions made;
        made.period_ns = found.period_ns;
        made.deadline_ns = found.deadline_ns;
        made.lead_ns = found.lead_ns;
        made.stale_ns = found.stale_ns;
        if (found.watchdog) {
            if (found.watchdog_size == 0) throw Error(ErrorKind::invalid_argument, "rtrnn_loop_options: a watchdog action without values");
            made.watchdog.assign(found.watchdog, found.watchdog + found.watchdog_size);
        }
        made.thread = {found.priority, found.cpu, found.lock_memory != 0};
        auto handle = std::make_unique<rtrnn_loop>();
        handle->loop = std::make_unique<rtrnn::Loop>(rtrnn::Stream(stream->stream), std::move(made));
        *loop = handle.release();
    });
}

rtrnn_status rtrnn_loop_free(rtrnn_loop* loop) noexcept {
    if (valid(loop) && !loop->busy.enter()) return fail(RTRNN_BUSY, "rtrnn_loop_free: another thread is handing over an observation");
    return rtrnn::capi::release(loop, "rtrnn_loop_free: not a loop, or freed before");
}

rtrnn_status rtrnn_loop_start(rtrnn_loop* loop) noexcept {
    if (!valid(loop)) return fail(RTRNN_INVALID_HANDLE, "rtrnn_loop_start: expected a loop");
    if (loop->loop->running()) return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_loop_start: the loop runs already; expected a stop first");
    return guarded([&] {
        loop->loop->start();
        std::string notes;
        for (const std::string& note : loop->loop->notes()) notes += (notes.empty() ? "" : "\n") + note;
        loop->notes = std::move(notes);
    });
}

rtrnn_status rtrnn_loop_stop(rtrnn_loop* loop) noexcept {
    if (!valid(loop)) return fail(RTRNN_INVALID_HANDLE, "rtrnn_loop_stop: expected a loop");
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
    const Claim claim(loop);
    if (!claim) return RTRNN_BUSY;
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
    if (!valid(loop)) return fail(RTRNN_INVALID_HANDLE, "rtrnn_loop_get_times: expected a loop");
    if (!times || which < 0 || static_cast<std::size_t>(which) >= rtrnn::loop_times)
        return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_loop_get_times: expected a known time and where to write");
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
