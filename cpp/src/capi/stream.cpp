// rtrnn.h: streams. Everything but create, fork and free is real-time: a check of the handle and of sizes, then the Stream.
#include <cstring>

#include "capi/calls.hpp"

namespace {

using rtrnn::Slot;
using rtrnn::Status;
using rtrnn::capi::Claim;
using rtrnn::capi::fail;
using rtrnn::capi::guarded;
using rtrnn::capi::known;
using rtrnn::capi::status_of;
using rtrnn::capi::valid;

static_assert(static_cast<int>(Status::ok) == RTRNN_OK && static_cast<int>(Status::held) == RTRNN_HELD &&
              static_cast<int>(Status::nonfinite_input) == RTRNN_NONFINITE_INPUT &&
              static_cast<int>(Status::nonfinite_result) == RTRNN_NONFINITE_RESULT);
static_assert(static_cast<int>(rtrnn::OnNonFinite::error) == RTRNN_ON_NONFINITE_ERROR &&
              static_cast<int>(rtrnn::OnNonFinite::hold) == RTRNN_ON_NONFINITE_HOLD &&
              static_cast<int>(rtrnn::OnNonFinite::propagate) == RTRNN_ON_NONFINITE_PROPAGATE);

const rtrnn::Plan& plan_of(const rtrnn_stream* stream) noexcept { return stream->stream.plan(); }

std::size_t state_bytes(const rtrnn_stream* stream) noexcept { return plan_of(stream).state_size() * sizeof(float); }

rtrnn_status restore(rtrnn_stream* stream, const void* data, std::size_t bytes, bool any_weights) noexcept RTRNN_NONBLOCKING {
    if (!valid(stream)) return RTRNN_INVALID_HANDLE;
    const Claim claim(stream);
    if (!claim) return RTRNN_BUSY;
    if (!data) return RTRNN_INVALID_ARGUMENT;
    return rtrnn::capi::status_of(stream->stream.restore(data, bytes, any_weights));
}

}  // namespace

rtrnn_stream::rtrnn_stream(rtrnn::Stream s)
    : stream(std::move(s)), x_size(rtrnn::capi::total_size(stream.plan().inputs())), y_size(rtrnn::capi::total_size(stream.plan().outputs())),
      inputs(stream.plan().inputs().size()), outputs(stream.plan().outputs().size()) {}

extern "C" {

rtrnn_status rtrnn_stream_create(const rtrnn_plan* plan, rtrnn_on_nonfinite on_nonfinite, rtrnn_stream** stream) noexcept {
    if (!stream) return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_stream_create: the address for the stream is NULL");
    *stream = nullptr;
    if (!valid(plan)) return fail(RTRNN_INVALID_HANDLE, "rtrnn_stream_create: the plan is NULL, freed or not a plan");
    if (!known(on_nonfinite)) return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_stream_create: on_nonfinite is none of the three");
    return guarded([&] { *stream = new rtrnn_stream(rtrnn::Stream(plan->plan, static_cast<rtrnn::OnNonFinite>(on_nonfinite))); });
}

rtrnn_status rtrnn_stream_fork(const rtrnn_stream* stream, rtrnn_stream** fork) noexcept {
    if (!fork) return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_stream_fork: the address for the fork is NULL");
    *fork = nullptr;
    if (!valid(stream)) return fail(RTRNN_INVALID_HANDLE, "rtrnn_stream_fork: the stream is NULL, freed or not a stream");
    const Claim claim(stream);
    if (!claim) return fail(RTRNN_BUSY, "rtrnn_stream_fork: another thread is using the stream");
    return guarded([&] { *fork = new rtrnn_stream(rtrnn::Stream(stream->stream)); });
}

rtrnn_status rtrnn_stream_free(rtrnn_stream* stream) noexcept {
    if (valid(stream) && !stream->busy.enter()) return fail(RTRNN_BUSY, "rtrnn_stream_free: another thread is using the stream");
    return rtrnn::capi::release(stream, "rtrnn_stream_free: not a stream, or freed before");
}

size_t rtrnn_stream_input_count(const rtrnn_stream* stream) noexcept { return valid(stream) ? plan_of(stream).inputs().size() : 0; }
size_t rtrnn_stream_input_size(const rtrnn_stream* stream, size_t i) noexcept {
    return i < rtrnn_stream_input_count(stream) ? plan_of(stream).inputs()[i].size : 0;
}
float* rtrnn_stream_input(rtrnn_stream* stream, size_t i) noexcept {
    return i < rtrnn_stream_input_count(stream) ? stream->stream.input(i) : nullptr;
}
size_t rtrnn_stream_output_count(const rtrnn_stream* stream) noexcept { return valid(stream) ? plan_of(stream).outputs().size() : 0; }
size_t rtrnn_stream_output_size(const rtrnn_stream* stream, size_t i) noexcept {
    return i < rtrnn_stream_output_count(stream) ? plan_of(stream).outputs()[i].size : 0;
}
const float* rtrnn_stream_output(const rtrnn_stream* stream, size_t i) noexcept {
    return i < rtrnn_stream_output_count(stream) ? stream->stream.output(i) : nullptr;
}

rtrnn_status rtrnn_stream_step(rtrnn_stream* stream) noexcept {
    if (!valid(stream)) return RTRNN_INVALID_HANDLE;
    const Claim claim(stream);
    if (!claim) return RTRNN_BUSY;
    return status_of(stream->stream.step());
}

rtrnn_status rtrnn_stream_step_copy(rtrnn_stream* stream, const float* x, size_t x_size, float* y, size_t y_size) noexcept {
    if (!valid(stream)) return RTRNN_INVALID_HANDLE;
    const Claim claim(stream);
    if (!claim) return RTRNN_BUSY;
    if (x_size != stream->x_size || (!x && x_size) || (y ? y_size != stream->y_size : y_size != 0)) return RTRNN_INVALID_ARGUMENT;
    const rtrnn::Plan& plan = plan_of(stream);
    if (plan.inputs().size() == 1 && plan.outputs().size() == 1) return status_of(stream->stream.step(x, y));
    std::size_t i = 0;
    for (const Slot& slot : plan.inputs()) {
        std::memcpy(stream->stream.input(i++), x, slot.size * sizeof(float));
        x += slot.size;
    }
    const Status status = stream->stream.step();
    if (y && (status == Status::ok || status == Status::held)) {
        i = 0;
        for (const Slot& slot : plan.outputs()) {
            std::memcpy(y, stream->stream.output(i++), slot.size * sizeof(float));
            y += slot.size;
        }
    }
    return status_of(status);
}

rtrnn_status rtrnn_stream_prepare(rtrnn_stream* stream) noexcept {
    if (!valid(stream)) return RTRNN_INVALID_HANDLE;
    const Claim claim(stream);
    if (!claim) return RTRNN_BUSY;
    stream->stream.prepare();
    return RTRNN_OK;
}

rtrnn_status rtrnn_stream_reset(rtrnn_stream* stream) noexcept {
    if (!valid(stream)) return RTRNN_INVALID_HANDLE;
    const Claim claim(stream);
    if (!claim) return RTRNN_BUSY;
    stream->stream.reset();
    return RTRNN_OK;
}

rtrnn_status rtrnn_stream_reserve(rtrnn_stream* stream) noexcept {
    if (!valid(stream)) return fail(RTRNN_INVALID_HANDLE, "rtrnn_stream_reserve: the stream is NULL, freed or not a stream");
    const Claim claim(stream);
    if (!claim) return fail(RTRNN_BUSY, "rtrnn_stream_reserve: another thread is using the stream");
    return guarded([&] { stream->stream.reserve(); });
}

rtrnn_status rtrnn_stream_process(rtrnn_stream* stream, const rtrnn_const_span* inputs, size_t input_count, const rtrnn_span* outputs,
                                  size_t output_count, size_t steps, size_t* failed_at) noexcept {
    if (!valid(stream)) return RTRNN_INVALID_HANDLE;
    const Claim claim(stream);
    if (!claim) return RTRNN_BUSY;
    const rtrnn::Plan& plan = plan_of(stream);
    if (!rtrnn::capi::take_spans(plan.inputs(), inputs, input_count, steps, stream->inputs) ||
        !rtrnn::capi::take_spans(plan.outputs(), outputs, output_count, steps, stream->outputs))
        return RTRNN_INVALID_ARGUMENT;
    return status_of(stream->stream.process(stream->inputs.data(), stream->outputs.data(), steps, failed_at));
}

size_t rtrnn_stream_state_size(const rtrnn_stream* stream) noexcept { return valid(stream) ? plan_of(stream).state_size() : 0; }
const float* rtrnn_stream_state(const rtrnn_stream* stream) noexcept { return valid(stream) ? stream->stream.state() : nullptr; }

rtrnn_status rtrnn_stream_get_state(const rtrnn_stream* stream, float* state, size_t size) noexcept {
    if (!valid(stream)) return RTRNN_INVALID_HANDLE;
    const Claim claim(stream);
    if (!claim) return RTRNN_BUSY;
    if (size != plan_of(stream).state_size() || (!state && size)) return RTRNN_INVALID_ARGUMENT;
    if (size) std::memcpy(state, stream->stream.state(), state_bytes(stream));
    return RTRNN_OK;
}

rtrnn_status rtrnn_stream_set_state(rtrnn_stream* stream, const float* state, size_t size) noexcept {
    if (!valid(stream)) return RTRNN_INVALID_HANDLE;
    const Claim claim(stream);
    if (!claim) return RTRNN_BUSY;
    if (size != plan_of(stream).state_size() || (!state && size)) return RTRNN_INVALID_ARGUMENT;
    if (!size) return RTRNN_OK;
    return stream->stream.set_state(state) ? RTRNN_OK : RTRNN_NONFINITE_INPUT;
}

size_t rtrnn_stream_saved_bytes(const rtrnn_stream* stream) noexcept { return valid(stream) ? stream->stream.saved_bytes() : 0; }

rtrnn_status rtrnn_stream_save(const rtrnn_stream* stream, void* data, size_t bytes) noexcept {
    if (!valid(stream)) return RTRNN_INVALID_HANDLE;
    const Claim claim(stream);
    if (!claim) return RTRNN_BUSY;
    if (!data || bytes != stream->stream.saved_bytes()) return RTRNN_INVALID_ARGUMENT;
    stream->stream.save(data);
    return RTRNN_OK;
}

rtrnn_status rtrnn_stream_restore(rtrnn_stream* stream, const void* data, size_t bytes) noexcept { return restore(stream, data, bytes, false); }
rtrnn_status rtrnn_stream_restore_any_weights(rtrnn_stream* stream, const void* data, size_t bytes) noexcept {
    return restore(stream, data, bytes, true);
}

rtrnn_status rtrnn_stream_swap(rtrnn_stream* stream, rtrnn_stream* other) noexcept {
    if (!valid(stream) || !valid(other)) return RTRNN_INVALID_HANDLE;
    if (stream == other) return RTRNN_OK;
    const Claim claim(stream), claim_of_other(other);
    if (!claim || !claim_of_other) return RTRNN_BUSY;
    return stream->stream.swap(other->stream) ? RTRNN_OK : RTRNN_STATE_MISMATCH;
}

rtrnn_status rtrnn_stream_set_hold_steps(rtrnn_stream* stream, uint64_t steps) noexcept {
    if (!valid(stream)) return RTRNN_INVALID_HANDLE;
    const Claim claim(stream);
    if (!claim) return RTRNN_BUSY;
    stream->stream.set_hold_steps(steps);
    return RTRNN_OK;
}

uint64_t rtrnn_stream_steps(const rtrnn_stream* stream) noexcept { return valid(stream) ? stream->stream.steps() : 0; }
uint64_t rtrnn_stream_nonfinite_count(const rtrnn_stream* stream) noexcept { return valid(stream) ? stream->stream.nonfinite_count() : 0; }
uint64_t rtrnn_stream_held_in_a_row(const rtrnn_stream* stream) noexcept { return valid(stream) ? stream->stream.counters().held_in_a_row.get() : 0; }
uint64_t rtrnn_stream_limited_count(const rtrnn_stream* stream) noexcept { return valid(stream) ? stream->stream.counters().limited.get() : 0; }
size_t rtrnn_stream_memory_bytes(const rtrnn_stream* stream) noexcept { return valid(stream) ? stream->stream.memory_bytes() : 0; }

}  // extern "C"
