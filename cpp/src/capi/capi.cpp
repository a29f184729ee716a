#include "capi/capi.hpp"

#include <cstring>
#include <exception>
#include <string>

#include "graph/file.hpp"
#include "rtrnn/rtrnn.h"

namespace {

thread_local std::string last_error;

// Runs `make` and turns an exception into NULL and a message.
template <class F>
auto guarded(F make) noexcept -> decltype(make()) {
    try {
        return make();
    } catch (const std::exception& error) {
        try {
            last_error = error.what();
        } catch (...) {
            last_error.clear();
        }
        return nullptr;
    }
}

const rtrnn::Plan& plan_of(const rtrnn_stream* stream) noexcept { return stream->stream.plan(); }

static_assert(static_cast<int>(rtrnn::Status::ok) == RTRNN_OK && static_cast<int>(rtrnn::Status::held) == RTRNN_HELD &&
              static_cast<int>(rtrnn::Status::nonfinite_input) == RTRNN_NONFINITE_INPUT &&
              static_cast<int>(rtrnn::Status::nonfinite_result) == RTRNN_NONFINITE_RESULT);

rtrnn_status status_of(rtrnn::Status status) noexcept { return static_cast<rtrnn_status>(status); }

}  // namespace

extern "C" {

const char* rtrnn_version(void) noexcept { return RTRNN_VERSION; }
const char* rtrnn_last_error(void) noexcept { return last_error.c_str(); }

rtrnn_plan* rtrnn_plan_load(const char* path, const char* weights, const char* isa) noexcept {
    return guarded([&] {
        rtrnn::PlanOptions options;
        if (weights && *weights) options.weights = weights;
        if (isa) options.isa = isa;
        return new rtrnn_plan{std::make_shared<const rtrnn::Plan>(rtrnn::load_graph(path), options)};
    });
}

void rtrnn_plan_free(rtrnn_plan* plan) noexcept { delete plan; }

rtrnn_stream* rtrnn_stream_create(const rtrnn_plan* plan, rtrnn_on_nonfinite on_nonfinite) noexcept {
    return guarded([&] { return new rtrnn_stream{rtrnn::Stream(plan->plan, static_cast<rtrnn::OnNonFinite>(on_nonfinite))}; });
}

rtrnn_stream* rtrnn_stream_fork(const rtrnn_stream* stream) noexcept {
    return guarded([&] { return new rtrnn_stream{rtrnn::Stream(stream->stream)}; });
}

void rtrnn_stream_free(rtrnn_stream* stream) noexcept { delete stream; }

size_t rtrnn_stream_input_count(const rtrnn_stream* stream) noexcept { return plan_of(stream).inputs().size(); }
size_t rtrnn_stream_input_size(const rtrnn_stream* stream, size_t i) noexcept { return plan_of(stream).inputs()[i].size; }
float* rtrnn_stream_input(rtrnn_stream* stream, size_t i) noexcept { return stream->stream.input(i); }
size_t rtrnn_stream_output_count(const rtrnn_stream* stream) noexcept { return plan_of(stream).outputs().size(); }
size_t rtrnn_stream_output_size(const rtrnn_stream* stream, size_t i) noexcept { return plan_of(stream).outputs()[i].size; }
const float* rtrnn_stream_output(const rtrnn_stream* stream, size_t i) noexcept { return stream->stream.output(i); }

rtrnn_status rtrnn_stream_step(rtrnn_stream* stream) noexcept { return status_of(stream->stream.step()); }

rtrnn_status rtrnn_stream_step_copy(rtrnn_stream* stream, const float* x, float* y) noexcept {
    return status_of(stream->stream.step(x, y));
}

void rtrnn_stream_prepare(rtrnn_stream* stream) noexcept { stream->stream.prepare(); }
void rtrnn_stream_reset(rtrnn_stream* stream) noexcept { stream->stream.reset(); }

rtrnn_status rtrnn_stream_process(rtrnn_stream* stream, const float* const* inputs, float* const* outputs, size_t count, size_t* failed_at) noexcept {
    return status_of(stream->stream.process(inputs, outputs, count, failed_at));
}

size_t rtrnn_stream_state_size(const rtrnn_stream* stream) noexcept { return plan_of(stream).state_size(); }
const float* rtrnn_stream_state(const rtrnn_stream* stream) noexcept { return stream->stream.state(); }
rtrnn_status rtrnn_stream_set_state(rtrnn_stream* stream, const float* state) noexcept {
    return stream->stream.set_state(state) ? RTRNN_OK : RTRNN_NONFINITE_INPUT;
}
uint64_t rtrnn_stream_steps(const rtrnn_stream* stream) noexcept { return stream->stream.steps(); }
uint64_t rtrnn_stream_nonfinite_count(const rtrnn_stream* stream) noexcept { return stream->stream.nonfinite_count(); }

rtrnn_batch* rtrnn_batch_create(const rtrnn_plan* plan, size_t count, rtrnn_on_nonfinite on_nonfinite) noexcept {
    return guarded([&] {
        auto batch = std::make_unique<rtrnn_batch>();
        batch->streams.reserve(count);
        for (size_t i = 0; i < count; ++i)
            batch->streams.push_back({rtrnn::Stream(plan->plan, static_cast<rtrnn::OnNonFinite>(on_nonfinite))});
        return batch.release();
    });
}

void rtrnn_batch_free(rtrnn_batch* batch) noexcept { delete batch; }

rtrnn_status rtrnn_batch_step(rtrnn_batch* batch, const float* const* inputs, float* const* outputs, size_t* failed_at) noexcept {
    if (batch->streams.empty()) return RTRNN_OK;
    const rtrnn::Plan& plan = batch->streams[0].stream.plan();
    for (rtrnn_stream& entry : batch->streams) entry.stream.checkpoint();
    rtrnn_status worst = RTRNN_OK;
    for (size_t n = 0; n < batch->streams.size(); ++n) {
        rtrnn::Stream& stream = batch->streams[n].stream;
        for (size_t i = 0; i < plan.inputs().size(); ++i)
            std::memcpy(stream.input(i), inputs[i] + n * plan.inputs()[i].size, plan.inputs()[i].size * sizeof(float));
        const rtrnn_status status = status_of(stream.step());
        if (status != RTRNN_OK && status != RTRNN_HELD) {
            for (rtrnn_stream& entry : batch->streams) entry.stream.rollback();
            if (failed_at) *failed_at = n;
            return status;
        }
        if (status == RTRNN_HELD) worst = status;
    }
    for (size_t n = 0; n < batch->streams.size(); ++n)
        for (size_t i = 0; i < plan.outputs().size(); ++i)
            std::memcpy(outputs[i] + n * plan.outputs()[i].size, batch->streams[n].stream.output(i), plan.outputs()[i].size * sizeof(float));
    return worst;
}

void rtrnn_batch_prepare(rtrnn_batch* batch) noexcept {
    for (rtrnn_stream& entry : batch->streams) entry.stream.prepare();
}

rtrnn_stream* rtrnn_batch_stream(rtrnn_batch* batch, size_t i) noexcept { return &batch->streams[i]; }

}  // extern "C"
