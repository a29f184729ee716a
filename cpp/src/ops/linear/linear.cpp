// y = x W^T + b over the last axis of x; leading axes are rows of a batch.
#include "ops/linear/linear.hpp"

#include "ops/list.hpp"
#include "plan/sparse.hpp"

namespace rtrnn {
namespace {

// Inputs: x, weight, bias.
void infer(ShapeRule& rule) {
    const Shape& x = rule.inputs[0];
    const Shape& weight = rule.inputs[1];
    if (weight.size() != 2 || weight[1] != x.back())
        rule.fail("weight '" + rule.node.inputs[1] + "': expected shape (output_size, " + std::to_string(x.back()) + "), found " + to_string(weight));
    rule.expect(2, "bias", {weight[0]});
    rule.expect_tensor(1, "weight");
    rule.expect_tensor(2, "bias");
    Shape y = x;
    y.back() = weight[0];
    rule.outputs = {y};
}

void lower(Lowering& lowering, const PlanNode& node) {
    const Shape& weight = lowering.shape(node.inputs[1]);
    const std::int64_t batch = element_count(lowering.shape(node.inputs[0])) / weight[1];
    emit_linear(lowering, lowering.in(node, 0), lowering.out(node, 0), lowering.weights(node, 1), lowering.weights(node, 2), weight[0],
                weight[1], batch, node.activation, {lowering.precision(node, "weight"), matrix_label(node, 1, "weight")});
}

}  // namespace

void emit_linear(Lowering& lowering, Ref x, Ref y, const float* weight, const float* bias, std::int64_t rows, std::int64_t cols,
                 std::int64_t batch, std::optional<Activation> activation, const WeightPacking& packing) {
    LinearArgs args{};
    args.x = x;
    args.y = y;
    args.rows = static_cast<std::int32_t>(rows);
    args.cols = static_cast<std::int32_t>(cols);
    const bool sparse = packing.precision == Precision::f32 && batch == 1 && pays_sparse(weight, 1, rows, cols);
    args.width = sparse ? sparse_rows : lowering.kernels.tile_width(Cell::linear, packing.precision, args.rows, args.cols);
    args.batch = static_cast<std::int32_t>(batch);
    args.weight = lowering.matrix({weight, rows, cols, args.width, {0}, TileShape::linear, packing.label, sparse}, packing.precision);
    args.x_quantized = lowering.quantized(packing.precision, cols);
    args.bias = lowering.packed(bias, rows, args.width, {0});
    args.activation = activation.value_or(Activation{UnaryKind::identity, 0, 0});
    const MatrixKernels& kernels = lowering.matrix_kernels(args.weight, args.weight);
    lowering.emit(kernels.linear, args, kernels.many_linear);
}

void add_linear_ops(std::vector<Op>& list) { list.push_back({"linear", 2, 3, 1, infer, lower}); }

}  // namespace rtrnn
