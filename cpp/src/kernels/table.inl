// The kernels of one ISA and their table. Included once by each ISA unit, inside its anonymous namespace,
// after vector.inl, the names Native, Width8, Width16, Width32, isa_name, register_lanes, and tile_width.

[[gnu::always_inline]] inline const float* resolve(const Ref& ref, const float* arena) {
    return ref.base != nullptr ? ref.base : arena + ref.offset;
}

#include "math.inl"
#include "special.inl"
#include "activation.inl"
#include "sums.inl"
#include "linear.inl"
#include "cells.inl"
#include "elementwise.inl"
#include "reduce.inl"
#include "probe.inl"

constexpr KernelTable table = {
    isa_name,
    tile_width,
    linear,
    cell_kernels<Rnn>(),
    cell_kernels<Gru>(),
    {gru_before<Form::step>, gru_before<Form::prepare>, gru_before<Form::finish>},
    cell_kernels<Lstm>(),
    unary,
    binary,
    normalize,
    layer_norm,
    softmax,
    reduce,
    gather,
    copy,
    all_finite,
    {probe_read, probe_fma, probe_chains * Native::lanes},
};
