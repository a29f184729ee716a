#include "plan/parts.hpp"

#include <algorithm>
#include <cstring>

#include "plan/packing.hpp"

namespace rtrnn {
namespace {

constexpr std::int64_t line_floats = cache_line / sizeof(float);

enum class Kind { other, linear, rnn, gru, lstm };

// gru_before is not cut: its second product needs all rows of its first.
Kind kind_of(const KernelTable& table, Kernel kernel) {
    for (const MatrixKernels* kernels : {&table.f32, &table.any}) {
        if (kernel == kernels->linear) return Kind::linear;
        if (kernel == kernels->rnn.step) return Kind::rnn;
        if (kernel == kernels->gru.step) return Kind::gru;
        if (kernel == kernels->lstm.step) return Kind::lstm;
    }
    return Kind::other;
}

std::int64_t gates_of(Kind kind) { return kind == Kind::gru ? 3 : kind == Kind::lstm ? 4 : 1; }

std::int64_t weight_bytes(Precision precision) { return precision == Precision::f32 ? 4 : precision <= Precision::i16 ? 2 : 1; }

// Bytes of `rows` rows of every gate.
std::int64_t matrix_bytes(const KernelTable& table, const Matrix& matrix, std::int64_t gates, std::int64_t rows, std::int64_t cols) {
    if (matrix.first_block) {
        const std::int64_t blocks = matrix.first_block[(rows + sparse_rows - 1) / sparse_rows * gates] - matrix.first_block[0];
        return blocks * sparse_rows * std::int64_t{sizeof(float)};
    }
    const std::int64_t group = table.tiles[static_cast<int>(matrix.precision)].group;
    return gates * rows * ((cols + group - 1) / group * group) * weight_bytes(matrix.precision);
}

// The matrix from row `first`, the first one of a tile, on.
Matrix from_row(const KernelTable& table, Matrix matrix, std::int64_t gates, std::int64_t first, std::int64_t cols) {
    if (matrix.first_block) {   // which counts from the first part's weights
        matrix.first_block += first / sparse_rows * gates;
        return matrix;
    }
    matrix.weights = static_cast<const std::byte*>(matrix.weights) + matrix_bytes(table, matrix, gates, first, cols);
    if (matrix.scale) matrix.scale += gates * first;
    if (matrix.start) matrix.start += gates * first;
    return matrix;
}

Ref advanced(Ref ref, std::int64_t floats) {
    if (ref.base) ref.base += floats;
    else ref.offset += floats;
    return ref;
}

struct Rows {
    std::int64_t first, count;
};

// At most `most` parts of at least `smallest` bytes, in whole tiles and whole cache lines of the result.
std::vector<Rows> cut(std::int64_t rows, std::int64_t width, std::int64_t bytes, const ThreadOptions& threads) {
    const std::int64_t unit = std::max(width, line_floats), units = (rows + unit - 1) / unit;
    const std::int64_t parts = std::min({std::int64_t{threads.count}, units, bytes / std::max<std::int64_t>(threads.smallest_part_bytes, 1)});
    std::vector<Rows> out;
    for (std::int64_t p = 0; p < parts; ++p) {
        const std::int64_t first = units * p / parts * unit;
        out.push_back({first, std::min(units * (p + 1) / parts * unit, rows) - first});
    }
    return out;
}

// Part p of a cut call also needs room of its own for quantised operands: parts run at the same time.
LinearArgs linear_part(Lowering& lowering, LinearArgs args, Rows rows, bool own_room) {
    args.y = advanced(args.y, rows.first);
    args.weight = from_row(lowering.kernels, args.weight, 1, rows.first, args.cols);
    args.bias += rows.first;
    args.rows = static_cast<std::int32_t>(rows.count);
    if (own_room) args.x_quantized = lowering.quantized(args.weight.precision, args.cols);
    return args;
}

CellArgs cell_part(Lowering& lowering, Kind kind, CellArgs args, Rows rows, bool own_room) {
    const std::int64_t gates = gates_of(kind);
    args.h_out = advanced(args.h_out, rows.first);
    if (kind == Kind::lstm) {
        args.c = advanced(args.c, rows.first);
        args.c_out = advanced(args.c_out, rows.first);
    }
    args.prepared = advanced(args.prepared, gates * rows.first);
    args.weight_ih = from_row(lowering.kernels, args.weight_ih, gates, rows.first, args.input_size);
    args.weight_hh = from_row(lowering.kernels, args.weight_hh, gates, rows.first, args.recurrent_size);
    args.bias_ih += gates * rows.first;
    args.bias_hh += gates * rows.first;
    if (args.peephole) args.peephole += 3 * rows.first;
    args.first_row = static_cast<std::int32_t>(rows.first);
    args.hidden_size = static_cast<std::int32_t>(rows.count);
    if (own_room) {
        args.x_quantized = lowering.quantized(args.weight_ih.precision, args.input_size);
        args.h_quantized = lowering.quantized(args.weight_hh.precision, args.recurrent_size);
    }
    return args;
}

// Gives a part's operands places in a worker's memory.
class OwnMemory {
public:
    explicit OwnMemory(RemotePart& part) : part_(part) { part.own_size = 0; }

    // Room for an operand of `size` floats. Of one that is read, those from `first` on, `count` of them, are copied in.
    void room(Ref& ref, std::int64_t size) {
        if (ref.base) return;
        ref.offset = static_cast<std::ptrdiff_t>(part_.own_size);
        part_.own_size += static_cast<std::size_t>((size + line_floats - 1) / line_floats * line_floats);
    }
    void read(Ref& ref, std::int64_t size, std::int64_t first, std::int64_t count) {
        if (ref.base) return;
        const std::ptrdiff_t arena = ref.offset;
        room(ref, size);
        part_.in.push_back({static_cast<std::size_t>(arena + first), static_cast<std::size_t>(ref.offset + first), static_cast<std::size_t>(count)});
    }
    void read(Ref& ref, std::int64_t size) { read(ref, size, 0, size); }
    void written(Ref& ref, std::int64_t size) {
        const std::ptrdiff_t arena = ref.offset;
        room(ref, size);
        part_.out.push_back({static_cast<std::size_t>(arena), static_cast<std::size_t>(ref.offset), static_cast<std::size_t>(size)});
    }
    void quantized(Ref& ref, Precision precision, std::int64_t size) {
        if (precision >= Precision::i16) room(ref, quantized_floats(size));
    }

private:
    RemotePart& part_;
};

void place(OwnMemory& own, LinearArgs& args) {
    own.read(args.x, args.cols);
    own.written(args.y, args.rows);
    own.quantized(args.x_quantized, args.weight.precision, args.cols);
}

void place(OwnMemory& own, CellArgs& args, Kind kind, CellForm form) {
    const std::int64_t prepared = gates_of(kind) * tile_count(args.hidden_size, args.width) * args.width;
    if (form != CellForm::prepare) {
        own.read(args.x, args.input_size);
        own.quantized(args.x_quantized, args.weight_ih.precision, args.input_size);
        if (kind == Kind::lstm) own.read(args.c, args.hidden_size);
    }
    if (form != CellForm::finish) {
        own.read(args.h, args.recurrent_size);
        own.quantized(args.h_quantized, args.weight_hh.precision, args.recurrent_size);
    } else if (kind == Kind::gru) {
        own.read(args.h, args.recurrent_size, args.first_row, args.hidden_size);   // its own rows' old state
    }
    if (form == CellForm::prepare) {
        own.written(args.prepared, prepared);
        return;
    }
    if (form == CellForm::finish) own.read(args.prepared, prepared);
    own.written(args.h_out, args.hidden_size);
    if (kind == Kind::lstm) own.written(args.c_out, args.hidden_size);
}

template <class Args>
AlignedArray<std::byte> stored(const Args& value) {
    auto memory = aligned_array<std::byte>(sizeof(Args));
    new (memory.get()) Args(value);
    return memory;
}

}  // namespace

void split_large_calls(Lowering& lowering, const ThreadOptions& threads) {
    if (threads.count < 2) return;
    std::vector<PendingCall> calls;
    for (const PendingCall& call : lowering.calls) {
        const Kind kind = kind_of(lowering.kernels, call.kernel);
        std::vector<Rows> parts;
        if (kind == Kind::linear) {
            const auto& args = *static_cast<const LinearArgs*>(call.args);
            if (args.batch == 1) parts = cut(args.rows, args.width, matrix_bytes(lowering.kernels, args.weight, 1, args.rows, args.cols), threads);
        } else if (kind != Kind::other) {
            const auto& args = *static_cast<const CellArgs*>(call.args);
            const std::int64_t gates = gates_of(kind);
            parts = cut(args.hidden_size, args.width,
                        matrix_bytes(lowering.kernels, args.weight_ih, gates, args.hidden_size, args.input_size) +
                            matrix_bytes(lowering.kernels, args.weight_hh, gates, args.hidden_size, args.recurrent_size),
                        threads);
        }
        if (parts.size() < 2) {
            calls.push_back(call);
            continue;
        }
        for (const Rows& rows : parts) {
            PendingCall part = call;
            part.beside_previous = rows.first != 0;
            part.parts = rows.first == 0 ? static_cast<std::int32_t>(parts.size()) : 1;
            part.args = kind == Kind::linear ? lowering.store(linear_part(lowering, *static_cast<const LinearArgs*>(call.args), rows, part.beside_previous))
                                             : lowering.store(cell_part(lowering, kind, *static_cast<const CellArgs*>(call.args), rows, part.beside_previous));
            calls.push_back(part);
        }
    }
    lowering.calls = std::move(calls);
}

std::unique_ptr<RemotePart> make_remote_part(const KernelTable& kernels, const PendingCall& call, CellForm form) {
    auto part = std::make_unique<RemotePart>();
    OwnMemory own(*part);
    const Kind kind = kind_of(kernels, call.kernel);
    part->kernel = form == CellForm::prepare ? call.prepare : form == CellForm::finish ? call.finish : call.kernel;
    if (kind == Kind::linear) {
        LinearArgs args = *static_cast<const LinearArgs*>(call.args);
        place(own, args);
        part->args = stored(args);
    } else {
        CellArgs args = *static_cast<const CellArgs*>(call.args);
        place(own, args, kind, form);
        part->args = stored(args);
    }
    return part;
}

}  // namespace rtrnn
