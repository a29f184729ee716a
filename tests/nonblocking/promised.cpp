// compiles: what the classes and the kernels promise to a real-time thread
#include "kernels/kernels.hpp"
#include "stream/stream.hpp"

void cpp_interface(rtrnn::Stream& stream, const float* const* xs, float* const* ys) noexcept RTRNN_NONBLOCKING {
    stream.input(0)[0] = stream.output(0)[0];
    stream.step();
    stream.step(xs[0], ys[0]);
    stream.prepare();
    stream.reset();
    stream.process(xs, ys, 1, nullptr);
    stream.checkpoint();
    stream.rollback();
    stream.set_state(stream.state());
    stream.steps();
    stream.nonfinite_count();
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
