// rtrnn.h: batches.
#include <cstring>

#include "capi/calls.hpp"

namespace {

using rtrnn::capi::Claim;
using rtrnn::capi::fail;
using rtrnn::capi::guarded;
using rtrnn::capi::known;
using rtrnn::capi::status_of;
using rtrnn::capi::valid;

bool good(const rtrnn_batch* batch, std::size_t i, const float* state, std::size_t size) noexcept {
    return i < batch->batch.size() && size == batch->batch.plan().state_size() && (state || !size);
}

}  // namespace

extern "C" {

rtrnn_status rtrnn_batch_create(const rtrnn_plan* plan, size_t count, rtrnn_on_nonfinite on_nonfinite, rtrnn_batch** batch) noexcept {
    if (!batch) return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_batch_create: the address for the batch is NULL");
    *batch = nullptr;
    if (!valid(plan)) return fail(RTRNN_INVALID_HANDLE, "rtrnn_batch_create: the plan is NULL, freed or not a plan");
    if (!known(on_nonfinite)) return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_batch_create: on_nonfinite is none of the three");
    if (!count) return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_batch_create: a batch needs at least one stream");
    if (count > UINT32_MAX) return fail(RTRNN_OUT_OF_MEMORY, "rtrnn_batch_create: more streams than any memory holds");
    return guarded([&] { *batch = new rtrnn_batch(rtrnn::Batch(plan->plan, count, static_cast<rtrnn::OnNonFinite>(on_nonfinite))); });
}

rtrnn_status rtrnn_batch_fork(const rtrnn_batch* batch, rtrnn_batch** twin) noexcept {
    if (!twin) return fail(RTRNN_INVALID_ARGUMENT, "rtrnn_batch_fork: the address for the batch is NULL");
    *twin = nullptr;
    if (!valid(batch)) return fail(RTRNN_INVALID_HANDLE, "rtrnn_batch_fork: the batch is NULL, freed or not a batch");
    const Claim claim(batch);
    if (!claim) return fail(RTRNN_BUSY, "rtrnn_batch_fork: another thread is using the batch");
    return guarded([&] { *twin = new rtrnn_batch(rtrnn::Batch(batch->batch)); });
}

rtrnn_status rtrnn_batch_free(rtrnn_batch* batch) noexcept {
    if (valid(batch) && !batch->busy.enter()) return fail(RTRNN_BUSY, "rtrnn_batch_free: another thread is using the batch");
    return rtrnn::capi::release(batch, "rtrnn_batch_free: not a batch, or freed before");
}

size_t rtrnn_batch_count(const rtrnn_batch* batch) noexcept { return valid(batch) ? batch->batch.size() : 0; }

rtrnn_status rtrnn_batch_step(rtrnn_batch* batch, const rtrnn_const_span* inputs, size_t input_count, const rtrnn_span* outputs,
                              size_t output_count, size_t* failed_at) noexcept {
    if (!valid(batch)) return RTRNN_INVALID_HANDLE;
    const Claim claim(batch);
    if (!claim) return RTRNN_BUSY;
    const rtrnn::Plan& plan = batch->batch.plan();
    const std::size_t count = batch->batch.size();
    if (!rtrnn::capi::take_spans(plan.inputs(), inputs, input_count, count, batch->inputs) ||
        !rtrnn::capi::take_spans(plan.outputs(), outputs, output_count, count, batch->outputs))
        return RTRNN_INVALID_ARGUMENT;
    return status_of(batch->batch.step(batch->inputs.data(), batch->outputs.data(), failed_at));
}

rtrnn_status rtrnn_batch_prepare(rtrnn_batch* batch) noexcept {
    if (!valid(batch)) return RTRNN_INVALID_HANDLE;
    const Claim claim(batch);
    if (!claim) return RTRNN_BUSY;
    batch->batch.prepare();
    return RTRNN_OK;
}

rtrnn_status rtrnn_batch_reset(rtrnn_batch* batch, size_t i) noexcept {
    if (!valid(batch)) return RTRNN_INVALID_HANDLE;
    const Claim claim(batch);
    if (!claim) return RTRNN_BUSY;
    if (i >= batch->batch.size()) return RTRNN_INVALID_ARGUMENT;
    batch->batch.stream(i).reset();
    return RTRNN_OK;
}

rtrnn_status rtrnn_batch_get_state(const rtrnn_batch* batch, size_t i, float* state, size_t size) noexcept {
    if (!valid(batch)) return RTRNN_INVALID_HANDLE;
    const Claim claim(batch);
    if (!claim) return RTRNN_BUSY;
    if (!good(batch, i, state, size)) return RTRNN_INVALID_ARGUMENT;
    if (size) std::memcpy(state, batch->batch.stream(i).state(), size * sizeof(float));
    return RTRNN_OK;
}

rtrnn_status rtrnn_batch_set_state(rtrnn_batch* batch, size_t i, const float* state, size_t size) noexcept {
    if (!valid(batch)) return RTRNN_INVALID_HANDLE;
    const Claim claim(batch);
    if (!claim) return RTRNN_BUSY;
    if (!good(batch, i, state, size)) return RTRNN_INVALID_ARGUMENT;
    return !size || batch->batch.stream(i).set_state(state) ? RTRNN_OK : RTRNN_NONFINITE_INPUT;
}

size_t rtrnn_batch_saved_bytes(const rtrnn_batch* batch) noexcept { return valid(batch) ? batch->batch.stream(0).saved_bytes() : 0; }

rtrnn_status rtrnn_batch_save(const rtrnn_batch* batch, size_t i, void* data, size_t bytes) noexcept {
    if (!valid(batch)) return RTRNN_INVALID_HANDLE;
    const Claim claim(batch);
    if (!claim) return RTRNN_BUSY;
    if (i >= batch->batch.size() || !data || bytes != batch->batch.stream(i).saved_bytes()) return RTRNN_INVALID_ARGUMENT;
    batch->batch.stream(i).save(data);
    return RTRNN_OK;
}

rtrnn_status rtrnn_batch_restore(rtrnn_batch* batch, size_t i, const void* data, size_t bytes) noexcept {
    if (!valid(batch)) return RTRNN_INVALID_HANDLE;
    const Claim claim(batch);
    if (!claim) return RTRNN_BUSY;
    if (i >= batch->batch.size() || !data) return RTRNN_INVALID_ARGUMENT;
    return status_of(batch->batch.stream(i).restore(data, bytes, false));
}

rtrnn_status rtrnn_batch_set_hold_steps(rtrnn_batch* batch, uint64_t steps) noexcept {
    if (!valid(batch)) return RTRNN_INVALID_HANDLE;
    const Claim claim(batch);
    if (!claim) return RTRNN_BUSY;
    batch->batch.set_hold_steps(steps);
    return RTRNN_OK;
}

uint64_t rtrnn_batch_limited_count(const rtrnn_batch* batch, size_t i) noexcept {
    return valid(batch) && i < batch->batch.size() ? batch->batch.stream(i).counters().limited.get() : 0;
}

uint64_t rtrnn_batch_nonfinite_count(const rtrnn_batch* batch, size_t i) noexcept {
    return valid(batch) && i < batch->batch.size() ? batch->batch.stream(i).nonfinite_count() : 0;
}

}  // extern "C"
