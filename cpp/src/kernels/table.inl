// The kernels of one ISA and their table. Included once by each ISA unit, inside its anonymous namespace,
// after vector.inl, the names Native, Width8, Width16, Width32, HalfWidth16, isa_name, register_lanes, and tile_width.

[[gnu::always_inline]] inline const float* resolve(const Ref& ref, const float* arena) {
    return ref.base != nullptr ? ref.base : arena + ref.offset;
}

#include "math.inl"
#include "special.inl"
#include "activation.inl"
#include "sums.inl"
#include "quantize.inl"
#include "float_tiles.inl"
#include "integer_tiles.inl"
#include "sparse_tiles.inl"
#include "products.inl"
#include "panels.inl"
#include "linear.inl"
#include "cells.inl"
#include "many.inl"
#include "elementwise.inl"
#include "commit.inl"
#include "reduce.inl"
#include "delta.inl"
#include "probe.inl"

constexpr TileTable half_tiles() {
    return float_tiles<Half, Width8, HalfWidth16, Pair<HalfWidth16>>();
}

constexpr MatrixKernels without_many(MatrixKernels kernels) {
    kernels.many_linear = nullptr;
    kernels.rnn.many = kernels.gru.many = kernels.gru_before.many = kernels.lstm.many = {};
    return kernels;
}

constexpr KernelTable table = {
    isa_name,
    tile_width,
    matrix_kernels<Inline>(),
    matrix_kernels<Called>(),
    {float_tiles<float>(), half_tiles(), float_tiles<BrainFloat>(), integer_tiles<std::int16_t>(), integer_tiles<std::int8_t>(),
     integer_tiles<std::int8_t>()},
    without_many(matrix_kernels<Called>()),
    {sparse_tile<1, 4>, sparse_tile<1, 2>, sparse_tile<2, 2>, sparse_tile<3, 2>, sparse_tile<4, 2>},
    unary,
    binary,
    normalize,
    layer_norm,
    softmax,
    reduce,
    gather,
    copy,
    delta,
    all_finite,
    {probe_read, probe_fma, probe_chains * Native::lanes},
    take,
    commit,
};
