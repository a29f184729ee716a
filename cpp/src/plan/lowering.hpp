// Turns placed program nodes into kernel calls. Ops use it to say what to call; the Plan keeps the result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "kernels/kernels.hpp"
#include "plan/aligned.hpp"
#include "plan/constants.hpp"
#include "plan/options.hpp"
#include "plan/placement.hpp"
#include "rtrnn/realtime.h"

namespace rtrnn {

// The Refs that an argument struct starts with.
template <class Args>
constexpr std::size_t ref_count = 2;
template <>
inline constexpr std::size_t ref_count<CellArgs> = 9;
template <>
inline constexpr std::size_t ref_count<LinearArgs> = 3;
template <>
inline constexpr std::size_t ref_count<BinaryArgs> = 3;
template <>
inline constexpr std::size_t ref_count<DeltaArgs> = 5;

struct RemotePart;

// Which of them are written: bit i for the i-th.
template <class Args>
constexpr std::uint32_t ref_writes = 0b10;
template <>
inline constexpr std::uint32_t ref_writes<CellArgs> = 0b111111000;
template <>
inline constexpr std::uint32_t ref_writes<LinearArgs> = 0b110;
template <>
inline constexpr std::uint32_t ref_writes<BinaryArgs> = 0b100;
template <>
inline constexpr std::uint32_t ref_writes<DeltaArgs> = 0b11000;

// The buffer that a symbolic Ref (Lowering::at) names.
inline int buffer_of(const Ref& ref) { return static_cast<int>(ref.offset >> 32); }

struct Call {
    Kernel kernel;
    const void* args;
    ManyKernel many;   // null for a kernel that gains nothing by it
    std::int32_t parts = 1;               // this one and those behind it that may run at the same time
    const RemotePart* remote = nullptr;   // how a worker runs it; null for what the calling thread alone runs
};

// The call for `count` arenas that lie `stride` floats apart.
inline void run_many(const Call& call, float* arena, std::ptrdiff_t stride, std::int32_t count) noexcept RTRNN_NONBLOCKING {
    if (call.many) return call.many(call.args, arena, stride, count);
    for (std::int32_t i = 0; i < count; ++i) call.kernel(call.args, arena + i * stride);
}

enum class Phase { prepare, split, finish };

// A call whose Refs still name buffers. A split call is a cell: `kernel` runs it whole, `prepare` and `finish` in two.
struct PendingCall {
    Phase phase;
    Kernel kernel, prepare, finish;
    void* args;
    std::size_t refs;
    std::size_t size;   // of the arguments, in bytes
    std::uint32_t writes;
    ManyKernel many = nullptr;             // the form of `kernel` for many arenas, where it has one
    const CellKernels* cell = nullptr;     // of a cell
    std::string node = {};                 // that it belongs to, by its first output; empty for a copy of an input or of a state
    std::int32_t parts = 1;
    bool beside_previous = false;          // may run at the same time as the call before it
};

// Rows of a matrix as the kernels want them: `gates` of a (gates * rows, cols) tensor, in tiles of `width` rows.
struct MatrixSource {
    const float* weight;
    std::int64_t rows, cols, width;
    std::vector<int> gates;
    TileShape shape;
    std::string label;      // for messages
    bool sparse = false;    // packed without its zero blocks; then f32 and width 16
};

// Floats that `size` values of a quantised operand take.
constexpr std::int64_t quantized_floats(std::int64_t size) {
    const std::int64_t blocks = (size + quantized_block - 1) / quantized_block;
    return blocks * quantized_block * static_cast<std::int64_t>(sizeof(std::int16_t)) / static_cast<std::int64_t>(sizeof(float));
}

// "node 'layer0' (gru): weight_ih 'l0.w'": input i of a node, for messages.
std::string matrix_label(const PlanNode& node, std::size_t i, const char* role);

class Lowering {
public:
    Lowering(const Graph& graph, const KernelTable& kernels, Placement& placement, PrecisionChoice& precisions);

    const KernelTable& kernels;

    const Shape& shape(const std::string& value) const { return graph_.shape(value); }
    // The operand as kernels see it, in the arena or among the constants. Arena Refs are symbolic until the Plan lays the arena out.
    Ref in(const PlanNode& node, std::size_t i);
    Ref out(const PlanNode& node, std::size_t i) const;
    Ref at(Place place) const;
    // The data of input i, which the op's shape rule made sure is a tensor; null when absent.
    const float* weights(const PlanNode& node, std::size_t i) const;
    // Working memory of the calls that are given it.
    Ref scratch(std::int64_t size);
    const float* constant(const std::vector<float>& values);
    const std::int32_t* constant(const std::vector<std::int32_t>& values);
    // Rows of a tensor (or of a part of one) as pack_matrix packs them; nodes that share a tensor share its packed form.
    const float* packed(const float* weight, std::int64_t rows, std::int64_t cols, std::int64_t width, const std::vector<int>& gates);
    // The same for a vector, as pack_vector packs it: zeros for null.
    const float* packed(const float* bias, std::int64_t rows, std::int64_t width, const std::vector<int>& gates);
    // The precision that this Plan's options give a node's matrix.
    Precision precision(const PlanNode& node, const char* role) { return precisions_.of(node.source->name, role).of_input; }
    // The same for one that is multiplied by a recurrent state. The entries of a state are of like size, so 8 bits of them may do; an
    // input's small entries would be lost beside its large ones.
    Precision state_precision(const PlanNode& node, const char* role) { return precisions_.of(node.source->name, role).of_state; }
    // A matrix packed in a precision; shared as above.
    Matrix matrix(const MatrixSource& source, Precision precision);
    // Room for `size` values of an operand, as a matrix of this precision reads it.
    Ref quantized(Precision precision, std::int64_t size);
    // The kernels for these matrices.
    const MatrixKernels& matrix_kernels(const Matrix& a, const Matrix& b) const {
        if (a.first_block || b.first_block) return kernels.sparse;
        return a.precision == Precision::f32 && b.precision == Precision::f32 ? kernels.f32 : kernels.any;
    }

    template <class Args>
    void emit(Kernel kernel, const Args& args, ManyKernel many = nullptr) {
        calls.push_back({phase, kernel, nullptr, nullptr, store(args), ref_count<Args>, sizeof(Args), ref_writes<Args>, many, nullptr, node_});
    }
    // A cell: in two halves when its recurrent operand is known before the input.
    void emit_cell(const PlanNode& node, const CellKernels& cell, CellArgs args, std::int64_t prepared_size);
    void copy(Ref from, Ref to, std::int64_t size);
    // `from` rearranged: element i of the result is element indices[i].
    Ref gathered(Ref from, const std::vector<std::int32_t>& indices);

    // A call's arguments once more.
    void* copy_of(const PendingCall& call);

    // Lowers one node in its phase.
    void lower(const PlanNode& node, std::size_t index);

    // Arguments, kept for the Plan.
    template <class Args>
    void* store(const Args& value) {
        static_assert(std::is_trivially_copyable_v<Args> && std::is_standard_layout_v<Args>);
        args.push_back(aligned_array<std::byte>(sizeof(Args)));
        return new (args.back().get()) Args(value);
    }

    Phase phase = Phase::finish;
    std::vector<PendingCall> calls;
    std::deque<AlignedArray<std::byte>> args;
    Constants constants;

private:
    bool is_state_only(const std::string& value) const;
    Matrix sparse(const MatrixSource& source);

    const Graph& graph_;
    Placement& placement_;
    std::string node_;   // being lowered, or the last one that was, by its first output
    std::unordered_map<std::string, const float*> tensors_;
    using PackedKey = std::tuple<const float*, std::int64_t, std::int64_t, std::int64_t, std::vector<int>>;
    std::map<PackedKey, const float*> packed_;
    std::map<std::pair<PackedKey, Precision>, Matrix> matrices_;
    std::map<PackedKey, Matrix> sparse_;
    PrecisionChoice& precisions_;
    std::unordered_map<std::string, bool> state_only_;
};

}  // namespace rtrnn
