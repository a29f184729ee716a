// The kernels a Plan can call and the arguments each takes.
//
// One KernelTable per ISA; every table holds the same functions with the same meaning and, for the
// same arguments, the same bits. A kernel reads its arguments and the Stream's arena, writes the
// arena, and does nothing else: no allocation, no lock, no system call, no branch on data.
// This header is included by units compiled with different ISA flags: only plain types, no inline code.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rtrnn {

// A float operand: `base` when it is a constant of the Plan, else `offset` floats into the arena.
struct Ref {
    const float* base;
    std::ptrdiff_t offset;
};

enum class UnaryKind : std::int32_t {
    identity, neg, abs, sqrt, exp, log, reciprocal, sign, erf, floor, ceil,
    relu, leaky_relu, elu, selu, celu, sigmoid, tanh, softplus, softsign, gelu, gelu_tanh, silu, mish,
    hard_sigmoid, hard_swish, thresholded_relu, scaled_tanh, affine, clip,
    count
};

enum class BinaryKind : std::int32_t { add, sub, mul, div, min, max, pow, count };

enum class ReduceKind : std::int32_t { sum, mean, max, min, count };

// A unary function with its constants; what alpha and beta mean is fixed in cpp/README.md.
struct Activation {
    UnaryKind kind;
    float alpha;
    float beta;
};

// Weights of a matrix (rows, cols) are packed in tiles of `width` rows: tile by tile, column by column,
// gate by gate, `width` consecutive rows; missing rows are zero. Biases likewise: tile, gate, row.
struct LinearArgs {
    Ref x, y;
    const float* weights;   // [tile][col][width]
    const float* bias;      // [tile][width], zeros when the layer has none
    std::int32_t rows, cols, width;
    std::int32_t batch;     // leading rows of x and y: x is (batch, cols), y is (batch, rows), both dense
    Activation activation;  // applied before the tile is stored; identity when none
};

// One timestep of rnn, gru or lstm. Gate order is the Graph's: gru r z n, lstm i f g o.
struct CellArgs {
    Ref x, h, c;                  // (input_size), (recurrent_size), (hidden_size); c: lstm only
    Ref h_out, c_out;             // (hidden_size); must not overlap h, x or c
    Ref prepared;                 // recurrent sums, [tile][gate][width]: written by prepare, read by finish
    Ref scratch;                  // gru_before only: 3 * padded hidden_size
    const float* weight_ih;       // packed
    const float* weight_hh;       // packed (gru_before: gates r and z only)
    const float* weight_hn;       // gru_before only: the n gate's recurrent matrix, packed as one gate
    const float* bias_ih;         // [tile][gate][width]
    const float* bias_hh;         // [tile][gate][width]
    const float* peephole;        // lstm only, [tile][i f o][width], or null
    std::int32_t input_size, recurrent_size, hidden_size, width;
    Activation activation[3];     // rnn: f; gru: f g; lstm: f g h (ONNX names)
    float clip;                   // the sums are clipped to [-clip, clip]; 0 when there is no clip
    bool standard;                // sigmoid/tanh (rnn: tanh), no clip, no peephole, no input_forget
    bool input_forget;            // lstm: f = 1 - i
};

struct UnaryArgs {
    Ref x, y;
    std::int32_t n;
    Activation activation;
};

// y[o, i] = op(a, b): each operand is walked with a stride per outer step and 0 or 1 per inner step.
struct BinaryArgs {
    Ref a, b, y;
    BinaryKind kind;
    std::int32_t outer, n;
    std::int32_t a_outer, a_inner, b_outer, b_inner;
};

struct NormalizeArgs {            // y = (x - mean) * scale, each (n)
    Ref x, y;
    const float* mean;
    const float* scale;
    std::int32_t n;
};

struct LayerNormArgs {            // over the last axis of (rows, n); weight and bias (n) or null
    Ref x, y;
    const float* weight;
    const float* bias;
    std::int32_t rows, n;
    float eps;
};

struct SoftmaxArgs {              // over the last axis of (rows, n)
    Ref x, y;
    std::int32_t rows, n;
};

struct ReduceArgs {               // x (outer, reduce, inner) -> y (outer, inner)
    Ref x, y;
    ReduceKind kind;
    std::int32_t outer, reduce, inner;
};

struct GatherArgs {               // y[i] = x[index[i]]
    Ref x, y;
    const std::int32_t* index;
    std::int32_t n;
};

struct CopyArgs {
    Ref x, y;
    std::int32_t n;
};

using Kernel = void (*)(const void* args, float* arena) noexcept;

// What a matrix-vector loop is for; decides tile widths.
enum class Cell : std::int32_t { linear, rnn, gru, lstm };

// For a cell, step(args) gives the same bits as prepare(args) then finish(args).
struct CellKernels {
    Kernel step, prepare, finish;
};

// For benchmarks: the limits of the CPU that kernels are measured against. Never part of a Plan.
struct ProbeKernels {
    // Reads x `times` times; n is a multiple of 512. `sink` (32 floats) takes what keeps the loop from being dropped.
    void (*read)(const float* x, std::size_t n, std::size_t times, float* sink) noexcept;
    // `times` turns of fma_per_turn scalar multiply-adds, from the 64 floats of `sink`.
    void (*fma)(std::size_t times, float* sink) noexcept;
    std::int32_t fma_per_turn;
};

struct KernelTable {
    const char* name;                                       // "scalar", "avx2", "avx512", "neon"
    std::int32_t (*tile_width)(Cell cell, std::int32_t rows, std::int32_t cols) noexcept;   // 8, 16 or 32
    Kernel linear;
    CellKernels rnn, gru, gru_before, lstm;
    Kernel unary, binary, normalize, layer_norm, softmax, reduce, gather, copy;
    bool (*all_finite)(const float* x, std::size_t n) noexcept;
    ProbeKernels probe;
};

}  // namespace rtrnn
