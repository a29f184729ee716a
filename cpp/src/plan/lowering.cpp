#include "plan/lowering.hpp"

#include <algorithm>
#include <cstring>

#include "ops/op.hpp"
#include "plan/packing.hpp"
#include "plan/sparse.hpp"

namespace rtrnn {
namespace {

// Room for every tensor in float32 and what the padding of tiles adds.
std::size_t expected_bytes(const Graph& graph) {
    std::size_t floats = 0;
    for (const Tensor& tensor : graph.tensors()) floats += static_cast<std::size_t>(element_count(tensor.shape));
    return floats * sizeof(float) * 9 / 8 + 4096;
}

}  // namespace

std::string matrix_label(const PlanNode& node, std::size_t i, const char* role) {
    return "node '" + node.source->name + "' (" + node.op->name + "): " + role + " '" + node.inputs[i] + "'";
}

Lowering::Lowering(const Graph& graph, const KernelTable& kernels_, Placement& placement, PrecisionChoice& precisions)
    : kernels(kernels_), constants(expected_bytes(graph)), graph_(graph), placement_(placement), precisions_(precisions) {
    for (const State& state : graph.states()) state_only_[state.name] = true;
    for (const Tensor& tensor : graph.tensors()) state_only_[tensor.name] = true;
}

// Until the arena is laid out a Ref holds the buffer's number in its upper and the offset in its lower half.
Ref Lowering::at(Place place) const {
    place = placement_.resolve(place);
    return {nullptr, static_cast<std::ptrdiff_t>(static_cast<std::int64_t>(place.buffer) << 32 | place.offset)};
}

Ref Lowering::in(const PlanNode& node, std::size_t i) {
    const std::string& value = node.inputs[i];
    const auto placed = placement_.values.find(value);
    if (placed != placement_.values.end()) return at(placed->second);
    const Tensor& tensor = *graph_.find_tensor(value);
    const float*& data = tensors_[value];
    if (!data) data = constants.add(tensor.data.get(), static_cast<std::size_t>(element_count(tensor.shape)));
    return {data, 0};
}

Ref Lowering::out(const PlanNode& node, std::size_t i) const { return at(placement_.values.at(node.outputs[i])); }

const float* Lowering::weights(const PlanNode& node, std::size_t i) const {
    return node.has_input(i) ? graph_.find_tensor(node.inputs[i])->data.get() : nullptr;
}

Ref Lowering::scratch(std::int64_t size) { return at({placement_.add_buffer(size, Region::temporary), 0}); }

const float* Lowering::constant(const std::vector<float>& values) { return constants.add(values.data(), values.size()); }

const std::int32_t* Lowering::constant(const std::vector<std::int32_t>& values) {
    return constants.add(values.data(), values.size());
}

const float* Lowering::packed(const float* weight, std::int64_t rows, std::int64_t cols, std::int64_t width, const std::vector<int>& gates) {
    const float*& known = packed_[{weight, rows, cols, width, gates}];
    if (!known) known = constant(pack_matrix(weight, rows, cols, width, gates));
    return known;
}

const float* Lowering::packed(const float* bias, std::int64_t rows, std::int64_t width, const std::vector<int>& gates) {
    if (bias) return packed(bias, rows, 1, width, gates);
    const float*& known = packed_[{nullptr, rows, 1, width, gates}];
    if (!known) known = constant(pack_vector(nullptr, rows, width, gates));
    return known;
}

Matrix Lowering::matrix(const MatrixSource& s, Precision precision) {
    const std::size_t width = s.width == 8 ? 0 : s.width == 16 ? 1 : 2;
    const TileTable& tiles = kernels.tiles[static_cast<int>(precision)];
    const TileSums sums = tiles.sums[static_cast<int>(s.shape)][width];
    if (s.sparse) return sparse(s);
    if (precision == Precision::f32) return {packed(s.weight, s.rows, s.cols, s.width, s.gates), nullptr, nullptr, sums, nullptr, precision, nullptr, nullptr};
    const auto [found, is_new] = matrices_.try_emplace({{s.weight, s.rows, s.cols, s.width, s.gates}, precision});
    Matrix& known = found->second;
    if (is_new) {
        const PackedMatrix packed = pack_reduced(s.weight, s.rows, s.cols, s.width, s.gates, precision, tiles, s.label);
        known.weights = constants.add(packed.weights.data(), packed.weights.size());
        if (!packed.scale.empty()) known.scale = constant(packed.scale);
        if (!packed.start.empty()) known.start = constant(packed.start);
    }
    return {known.weights, known.scale, known.start, sums, tiles.arrange, precision, nullptr, nullptr};
}

Matrix Lowering::sparse(const MatrixSource& s) {
    const auto [found, is_new] = sparse_.try_emplace({s.weight, s.rows, s.cols, s.width, s.gates});
    Matrix& known = found->second;
    if (is_new) {
        const int partials = s.shape == TileShape::linear ? 4 : 2;
        const SparseMatrix packed = pack_sparse(s.weight, s.rows, s.cols, s.gates, partials);
        known = {constant(packed.weights), nullptr, nullptr, kernels.sparse_tiles[static_cast<int>(s.shape)], nullptr, Precision::f32,
                 constant(packed.first_block), constant(packed.block_column)};
    }
    return known;
}

Ref Lowering::quantized(Precision precision, std::int64_t size) {
    if (precision < Precision::i16) return {nullptr, 0};
    return scratch(quantized_floats(size));
}

void Lowering::emit_cell(const PlanNode& node, const CellKernels& cell, CellArgs args, std::int64_t prepared_size) {
    const bool split = !node.state_only && is_state_only(node.inputs[1]);
    if (split) args.prepared = scratch(prepared_size);
    calls.push_back({split ? Phase::split : phase, cell.step, cell.prepare, cell.finish, store(args), ref_count<CellArgs>, sizeof(CellArgs), ref_writes<CellArgs>, cell.many.step, &cell, node_});
}

bool Lowering::is_state_only(const std::string& value) const {
    const auto found = state_only_.find(value);
    return found != state_only_.end() && found->second;
}

void Lowering::copy(Ref from, Ref to, std::int64_t size) {
    CopyArgs args{};
    args.x = from;
    args.y = to;
    args.n = static_cast<std::int32_t>(size);
    emit(kernels.copy, args);
}

Ref Lowering::gathered(Ref from, const std::vector<std::int32_t>& indices) {
    if (from.base) {
        std::vector<float> values;
        for (const std::int32_t i : indices) values.push_back(from.base[i]);
        return {constant(values), 0};
    }
    GatherArgs args{};
    args.x = from;
    args.y = scratch(static_cast<std::int64_t>(indices.size()));
    args.index = constant(indices);
    args.n = static_cast<std::int32_t>(indices.size());
    emit(kernels.gather, args);
    return args.y;
}

void* Lowering::copy_of(const PendingCall& call) {
    args.push_back(aligned_array<std::byte>(call.size));
    return std::memcpy(args.back().get(), call.args, call.size);
}

void Lowering::lower(const PlanNode& node, std::size_t index) {
    phase = node.state_only ? Phase::prepare : Phase::finish;
    node_ = node.source->outputs.front();
    for (const std::string& value : node.outputs) state_only_[value] = node.state_only;
    if (const auto joins = placement_.joins.find(index); joins != placement_.joins.end())
        for (const Move& move : joins->second) {
            PlanNode reader = node;
            reader.inputs = {move.value};
            copy(in(reader, 0), at(move.target), move.size);
        }
    if (!placement_.elided[index]) node.op->lower(*this, node);
}

}  // namespace rtrnn
