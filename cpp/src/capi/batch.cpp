// rtrnn.h: batches.
#include <cstring>

#include "capi/calls.hpp"

namespace {

using rtrnn::Slot;
using rtrnn::Status;
using rtrnn::Stream;
using rtrnn::capi::fail;
using rtrnn::capi::guarded;
using rtrnn::capi::known;
using rtrnn::capi::status_of;
using rtrnn::capi::valid;

bool good(const rtrnn_batch* batch, std::size_t i, const float* state, std::size_t size) noexcept {
    return i < batch->streams.size() && size == batch->streams[0].plan().state_size() && (state || !size);
}

}  // namespace

extern "C" {

rtrnn_status rtrnn_batch_create(const rtrnn_plan* plan, size_t count, rtrnn_on_nonfinite on_nonfinite, rtrnn_batch** batch) noexcept {
    if (!batch) return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_batch_create: the address for the batch is NULL");
    *batch = nullptr;
    if (!valid(plan)) return fail(RTRNN_INVALID_HANDLE, "rtrnn_batch_create: the plan is NULL, freed or not a plan");
    if (!known(on_nonfinite)) return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_batch_create: on_nonfinite is none of the three");
    if (!count) return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_batch_create: a batch needs at least one stream");
    return guarded([&] {
        auto made = std::make_unique<rtrnn_batch>();
        for (size_t i = 0; i < count; ++i) made->streams.emplace_back(plan->plan, static_cast<rtrnn::OnNonFinite>(on_nonfinite));
        made->inputs.resize(plan->plan->inputs().size());
        made->outputs.resize(plan->plan->outputs().size());
        *batch = made.release();
    });
}

rtrnn_status rtrnn_batch_free(rtrnn_batch* batch) noexcept { return rtrnn::capi::release(batch, "rtrnn_batch_free: not a batch, or freed before"); }

size_t rtrnn_batch_count(const rtrnn_batch* batch) noexcept { return valid(batch) ? batch->streams.size() : 0; }

rtrnn_status rtrnn_batch_step(rtrnn_batch* batch, const rtrnn_const_span* inputs, size_t input_count, const rtrnn_span* outputs,
                              size_t output_count, size_t* failed_at) noexcept {
    if (!valid(batch)) return RTRNN_INVALID_HANDLE;
    const rtrnn::Plan& plan = batch->streams[0].plan();
    const std::size_t count = batch->streams.size();
    if (!rtrnn::capi::take_spans(plan.inputs(), inputs, input_count, count, batch->inputs) ||
        !rtrnn::capi::take_spans(plan.outputs(), outputs, output_count, count, batch->outputs))
        return RTRNN_INVALID_ARGUMENT;
    for (Stream& stream : batch->streams) stream.checkpoint();
    rtrnn_status worst = RTRNN_OK;
    for (std::size_t n = 0; n < count; ++n) {
        Stream& stream = batch->streams[n];
        for (std::size_t i = 0; i < input_count; ++i) {
            const std::size_t size = plan.inputs()[i].size;
            std::memcpy(stream.input(i), batch->inputs[i] + n * size, size * sizeof(float));
        }
        const Status status = stream.step();
        if (status != Status::ok && status != Status::held) {
            for (Stream& each : batch->streams) each.rollback();
            if (failed_at) *failed_at = n;
            return status_of(status);
        }
        if (status == Status::held) worst = RTRNN_HELD;
    }
    for (std::size_t n = 0; n < count; ++n)
        for (std::size_t i = 0; i < output_count; ++i) {
            const std::size_t size = plan.outputs()[i].size;
            std::memcpy(batch->outputs[i] + n * size, batch->streams[n].output(i), size * sizeof(float));
        }
    return worst;
}

rtrnn_status rtrnn_batch_prepare(rtrnn_batch* batch) noexcept {
    if (!valid(batch)) return RTRNN_INVALID_HANDLE;
    for (Stream& stream : batch->streams) stream.prepare();
    return RTRNN_OK;
}

rtrnn_status rtrnn_batch_reset(rtrnn_batch* batch, size_t i) noexcept {
    if (!valid(batch)) return RTRNN_INVALID_HANDLE;
    if (i >= batch->streams.size()) return RTRNN_INVALID_ARGUMENT;
    batch->streams[i].reset();
    return RTRNN_OK;
}

rtrnn_status rtrnn_batch_get_state(const rtrnn_batch* batch, size_t i, float* state, size_t size) noexcept {
    if (!valid(batch)) return RTRNN_INVALID_HANDLE;
    if (!good(batch, i, state, size)) return RTRNN_INVALID_ARGUMENT;
    if (size) std::memcpy(state, batch->streams[i].state(), size * sizeof(float));
    return RTRNN_OK;
}

rtrnn_status rtrnn_batch_set_state(rtrnn_batch* batch, size_t i, const float* state, size_t size) noexcept {
    if (!valid(batch)) return RTRNN_INVALID_HANDLE;
    if (!good(batch, i, state, size)) return RTRNN_INVALID_ARGUMENT;
    return !size || batch->streams[i].set_state(state) ? RTRNN_OK : RTRNN_NONFINITE_INPUT;
}

}  // extern "C"
