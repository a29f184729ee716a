// compiles: what the classes and the kernels promise to a real-time thread
#include "kernels/kernels.hpp"
#include "loop/loop.hpp"
#include "rtrnn/rtrnn.h"
#include "stream/batch.hpp"
#include "stream/stream.hpp"

void c_interface(rtrnn_stream* stream, rtrnn_batch* batch, float* x, const rtrnn_const_span* xs, const rtrnn_span* ys) noexcept RTRNN_NONBLOCKING {
    std::size_t failed_at;
    rtrnn_version();
    rtrnn_stream_input_count(stream);
    rtrnn_stream_input_size(stream, 0);
    rtrnn_stream_input(stream, 0);
    rtrnn_stream_output_count(stream);
    rtrnn_stream_output_size(stream, 0);
    rtrnn_stream_output(stream, 0);
    rtrnn_stream_step(stream);
    rtrnn_stream_step_copy(stream, x, 1, x, 1);
    rtrnn_stream_prepare(stream);
    rtrnn_stream_reset(stream);
    rtrnn_stream_process(stream, xs, 1, ys, 1, 1, &failed_at);
    rtrnn_stream_state_size(stream);
    rtrnn_stream_get_state(stream, x, 1);
    rtrnn_stream_set_state(stream, rtrnn_stream_state(stream), 1);
    rtrnn_stream_steps(stream);
    rtrnn_stream_nonfinite_count(stream);
    rtrnn_stream_held_in_a_row(stream);
    rtrnn_stream_limited_count(stream);
    rtrnn_stream_set_hold_steps(stream, 1);
    rtrnn_stream_save(stream, x, rtrnn_stream_saved_bytes(stream));
    rtrnn_stream_restore(stream, x, 1);
    rtrnn_stream_restore_any_weights(stream, x, 1);
    rtrnn_stream_swap(stream, stream);
    rtrnn_batch_set_hold_steps(batch, 1);
    rtrnn_batch_limited_count(batch, 0);
    rtrnn_batch_count(batch);
    rtrnn_batch_step(batch, xs, 1, ys, 1, &failed_at);
    rtrnn_batch_prepare(batch);
    rtrnn_batch_reset(batch, 0);
    rtrnn_batch_get_state(batch, 0, x, 1);
    rtrnn_batch_set_state(batch, 0, x, 1);
    rtrnn_batch_save(batch, 0, x, rtrnn_batch_saved_bytes(batch));
    rtrnn_batch_restore(batch, 0, x, 1);
    rtrnn_batch_nonfinite_count(batch, 0);
}

void cpp_interface(rtrnn::Stream& stream, const float* const* xs, float* const* ys) noexcept RTRNN_NONBLOCKING {
    stream.input(0)[0] = stream.output(0)[0];
    stream.step();
    stream.step(xs[0], ys[0]);
    stream.prepare();
    stream.warm();
    stream.reset();
    stream.process(xs, ys, 1, nullptr);
    stream.checkpoint();
    stream.rollback();
    stream.set_state(stream.state());
    stream.steps();
    stream.nonfinite_count();
    stream.save(ys[0]);
    stream.restore(xs[0], stream.saved_bytes(), true);
    stream.swap(stream);
    stream.counters().limited.get();
    stream.on_nonfinite();
    stream.memory_bytes();
    stream.plan().state_size();
}

void kernels(const rtrnn::KernelTable& table, const rtrnn::Call& call, const rtrnn::Matrix& matrix, float* arena, std::int16_t* integers) noexcept
    RTRNN_NONBLOCKING {
    call.kernel(call.args, arena);
    table.all_finite(arena, 1);
    matrix.sums(matrix, 0, {arena, 1.0f}, 1, arena, arena);
    matrix.arrange(integers, 1);
}

void many(rtrnn::Batch& batch, const rtrnn::Call& call, const float* const* xs, float* const* ys, float* arena) noexcept RTRNN_NONBLOCKING {
    batch.step(xs, ys, nullptr);
    batch.prepare();
    batch.stream(0).reset();
    batch.size();
    rtrnn::run_many(call, arena, 16, 2);
}
