// A linear layer that adds only what changed ("Delta Networks for Optimized Recurrent Network Computation", 2017): of the columns whose x differs
// by more than `threshold` from the x used last,
//   y' = y + W (x - used),  used' = x;  the others keep their used.
// y and used are states; where y is bias + W used at first, it stays so up to rounding. Time depends on the data.
#include "ops/list.hpp"
#include "plan/lowering.hpp"
#include "plan/packing.hpp"

namespace rtrnn {
namespace {

// Inputs: x, used, y, weight.
void infer(ShapeRule& rule) {
    const Shape& weight = rule.inputs[3];
    if (weight.size() != 2) rule.fail("weight '" + rule.node.inputs[3] + "': expected two dimensions, found shape " + to_string(weight));
    rule.expect(0, "x", {weight[1]});
    rule.expect(1, "used", {weight[1]});
    rule.expect(2, "y", {weight[0]});
    rule.expect_tensor(3, "weight");
    if (!(rule.node.real("threshold", 0) >= 0)) rule.fail("threshold must not be negative");
    rule.outputs = {{weight[0]}, {weight[1]}};
}

void lower(Lowering& lowering, const PlanNode& node) {
    const Shape& weight = lowering.shape(node.inputs[3]);
    DeltaArgs args{};
    args.x = lowering.in(node, 0);
    args.used = lowering.in(node, 1);
    args.y_old = lowering.in(node, 2);
    args.y = lowering.out(node, 0);
    args.used_next = lowering.out(node, 1);
    args.rows = static_cast<std::int32_t>(weight[0]);
    args.cols = static_cast<std::int32_t>(weight[1]);
    args.stride = static_cast<std::int32_t>(tile_count(weight[0], 16) * 16);
    args.weights = lowering.packed(lowering.weights(node, 3), weight[0], weight[1], args.stride, {0});   // one tile of all rows
    args.threshold = static_cast<float>(node.source->real("threshold", 0));
    lowering.emit(lowering.kernels.delta, args);
}

}  // namespace

void add_delta_ops(std::vector<Op>& list) { list.push_back({"delta_linear", 4, 4, 2, infer, lower}); }

}  // namespace rtrnn
