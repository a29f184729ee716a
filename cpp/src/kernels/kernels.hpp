// The kernels a Plan can call and the arguments each takes.
//
// One KernelTable per ISA; every table holds the same functions with the same meaning and, for the
// same arguments, the same bits. A kernel reads its arguments and the Stream's arena, writes the
// arena, and does nothing else: no allocation, no lock, no system call, no branch on data.
// This header is included by units compiled with different ISA flags: only plain types, no inline code.
#pragma once

#include <cstddef>
#include <cstdint>

#include "rtrnn/realtime.h"

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

// How a matrix is stored. Integers are multiples of a scale of their row's own, and their operand is quantised to 14 bits, or
// to 8 for i8_state: an i8 matrix that is multiplied by a recurrent state. f16 and bf16 are widened as they are read.
enum class Precision : std::int32_t { f32, f16, bf16, i16, i8, i8_state, count };

// A vector as a matrix reads it: floats, or, for a matrix of integers, 16-bit integers that are multiples of `unit`.
struct Operand {
    const void* values;
    float unit;
};

struct Matrix;

// Rearranges a quantised operand, in place, for the sums of a matrix.
using Arrange = void (*)(std::int16_t* values, std::int32_t count) noexcept RTRNN_NONBLOCKING;

// One tile's sums W x + bias: [gate][width]; bias likewise.
using TileSums = void (*)(const Matrix& matrix, std::int32_t tile, const Operand& x, std::int32_t cols, const float* bias,
                          float* sums) noexcept RTRNN_NONBLOCKING;

// Weights of a matrix (rows, cols) are packed in tiles of `width` rows: tile by tile, column by column,
// gate by gate, `width` consecutive rows; missing rows are zero. Columns of integers go in groups of TileTable::group:
// [tile][group][gate][width][column], the last group filled up with zeros. What there is one of per row: tile, gate, row.
struct Matrix {
    const void* weights;
    const float* scale;           // of integers, one per row; else null
    const std::int32_t* start;    // what each row's sum of integers starts from; null when from 0
    TileSums sums;                // for the kernels of any precision; null in those of f32 alone
    Arrange arrange;              // null when the operand is taken as it is
    Precision precision;
    // Of an f32 matrix without its zero blocks (16 rows of one gate, one column), else null; the width is 16 and `weights` holds the
    // other blocks, [block][16] (plan/sparse): where those of each [tile][gate] begin, and where the last end; and the column of each.
    const std::int32_t* first_block = nullptr;
    const std::int32_t* block_column = nullptr;
};

constexpr std::int32_t sparse_rows = 16;   // of a block

constexpr std::int32_t quantized_limit = 8191;      // quantised operands lie in [-8191, 8191],
constexpr std::int32_t quantized_limit_8 = 127;     // those of i8_state in [-127, 127];
constexpr std::int32_t quantized_block = 32;        // they are padded to whole blocks of this many values

struct LinearArgs {
    Ref x, y;
    Ref x_quantized;        // room for one row of x in 16-bit integers when `weight` holds integers
    Matrix weight;          // one gate
    const float* bias;      // [tile][width], zeros when the layer has none
    std::int32_t rows, cols, width;
    std::int32_t batch;     // leading rows of x and y: x is (batch, cols), y is (batch, rows), both dense
    Activation activation;  // applied before the tile is stored; identity when none
};

// One timestep of rnn, gru or lstm. Gate order is the Graph's: gru r z n, lstm i f g o.
struct CellArgs {
    Ref x, h, c;                  // (input_size), (recurrent_size), (hidden_size); c: lstm only
    Ref h_out, c_out;             // (hidden_size); must not overlap h, x or c
    Ref prepared;                 // sums, [tile][gate][width]: recurrent ones from prepare to finish, input ones from input to recur
    Ref scratch;                  // gru_before only: 3 * padded hidden_size
    Ref x_quantized, h_quantized; // room for x and h in 16-bit integers where a matrix of integers reads them
    Matrix weight_ih;
    Matrix weight_hh;             // gru_before: gates r and z only
    Matrix weight_hn;             // gru_before only: the n gate's recurrent matrix, one gate, of weight_hh's precision
    const float* bias_ih;         // [tile][gate][width]
    const float* bias_hh;         // [tile][gate][width]
    const float* peephole;        // lstm only, [tile][i f o][width], or null
    std::int32_t input_size, recurrent_size, hidden_size, width;
    std::int32_t first_row;       // of these rows in h, when they are a part of the cell's (plan/parts)
    Activation activation[3];     // rnn: f; gru: f g; lstm: f g h (ONNX names)
    float clip;                   // the sums are clipped to [-clip, clip]; 0 when there is no clip
    bool standard;                // sigmoid/tanh (rnn: tanh), no clip, no peephole, no input_forget
    bool input_forget;            // lstm: f = 1 - i
    bool backward;                // tiles are walked from the last to the first; not gru_before
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

// y = y_old + W (x - used) over the columns where x differs from what was used last by more than `threshold`; used_next is x there.
struct DeltaArgs {
    Ref x, used, y_old, y, used_next;   // (cols), (cols), (rows), (rows), (cols)
    const float* weights;               // [col][stride], stride a multiple of 16, missing rows zero
    std::int32_t rows, cols, stride;
    float threshold;
};

// `size` floats at `offset` of the arena.
struct Range {
    std::ptrdiff_t offset, size;
};

struct Transfer {
    std::ptrdiff_t from, to;      // into the arena
    std::ptrdiff_t size;
};

// How a step that has been computed becomes the Stream's.
struct CommitArgs {
    Range outputs, states;        // what has been computed and must be finite; whole cache lines
    const Transfer* transfers;    // of each output, from there to where it can be seen; whole vectors of 8
    std::ptrdiff_t transfer_count;
    std::ptrdiff_t first_output;  // size of output 0
};

using Kernel = void (*)(const void* args, float* arena) noexcept RTRNN_NONBLOCKING;

// The same call for `count` arenas that lie `stride` floats apart, with the bits that each has alone.
using ManyKernel = void (*)(const void* args, float* arena, std::ptrdiff_t stride, std::int32_t count) noexcept RTRNN_NONBLOCKING;

// What a matrix-vector loop is for; decides tile widths.
enum class Cell : std::int32_t { linear, rnn, gru, lstm };

struct ManyCellKernels {
    ManyKernel step, prepare, finish, input;
};

// For a cell, step(args) gives the same bits as prepare(args) then finish(args), and as many.input then recur(args).
struct CellKernels {
    Kernel step, prepare, finish, recur;
    ManyCellKernels many;
};

// For benchmarks: the limits of the CPU that kernels are measured against. Never part of a Plan.
struct ProbeKernels {
    // Reads x `times` times; n is a multiple of 512. `sink` (32 floats) takes what keeps the loop from being dropped.
    void (*read)(const float* x, std::size_t n, std::size_t times, float* sink) noexcept;
    // `times` turns of fma_per_turn scalar multiply-adds, from the 64 floats of `sink`.
    void (*fma)(std::size_t times, float* sink) noexcept;
    std::int32_t fma_per_turn;
};

struct MatrixKernels {
    Kernel linear;
    ManyKernel many_linear;
    CellKernels rnn, gru, gru_before, lstm;
};

// Number of gates whose rows lie side by side in a tile; one gate has two forms, which differ in the order in which a row of
// floats is summed.
enum class TileShape : std::int32_t { linear, reset, two, three, four, count };   // linear: also rnn; reset: weight_hn

constexpr int tile_shapes = static_cast<int>(TileShape::count), tile_widths = 3, precisions = static_cast<int>(Precision::count);

// The sums of one precision, by shape and width (8, 16, 32), and how they want weights and operand.
struct TileTable {
    TileSums sums[tile_shapes][tile_widths];
    std::int32_t group;   // columns that lie together: 1 for floats, 2 or 4 for integers
    std::int32_t raise;   // what is added to each of the operand's integers, and so taken off where the sums start
    Arrange arrange;
};

// What an ISA adds that another one's kernels are used with.
struct IntegerTiles {
    TileTable i16, i8, i8_state;
};

struct KernelTable {
    const char* name;                                       // "scalar", "avx2", "avx512", "avx512vnni", "neon"
    std::int32_t (*tile_width)(Cell cell, Precision precision, std::int32_t rows, std::int32_t cols) noexcept;   // 8, 16 or 32
    MatrixKernels f32;          // all matrices in f32, their sums formed inside the kernel
    MatrixKernels any;          // each matrix in a precision of its own, its sums formed by Matrix::sums
    TileTable tiles[precisions];
    MatrixKernels sparse;       // the same where one is without its zero blocks: nothing for many arenas at once
    TileSums sparse_tiles[tile_shapes];   // 16 wide
    Kernel unary, binary, normalize, layer_norm, softmax, reduce, gather, copy, delta;
    bool (*all_finite)(const float* x, std::size_t n) noexcept RTRNN_NONBLOCKING;
    ProbeKernels probe;
    // Copies x (n) and says whether all of it is finite.
    bool (*take)(const float* x, float* y, std::size_t n) noexcept RTRNN_NONBLOCKING;
    // Makes a step's outputs visible, and copies output 0 to y unless that is null. When `check`, changes nothing and gives false if
    // a value is not finite.
    bool (*commit)(const CommitArgs& args, float* arena, float* y, bool check) noexcept RTRNN_NONBLOCKING;
};

}  // namespace rtrnn
