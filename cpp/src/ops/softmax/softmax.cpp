// Softmax over the last axis, shifted by the row's maximum.
#include "ops/list.hpp"
#include "plan/lowering.hpp"

namespace rtrnn {
namespace {

void infer(ShapeRule& rule) { rule.outputs = {rule.inputs[0]}; }

void lower(Lowering& lowering, const PlanNode& node) {
    const Shape& x = lowering.shape(node.inputs[0]);
    SoftmaxArgs args{};
    args.x = lowering.in(node, 0);
    args.y = lowering.out(node, 0);
    args.n = static_cast<std::int32_t>(x.back());
    args.rows = static_cast<std::int32_t>(element_count(x) / x.back());
    lowering.emit(lowering.kernels.softmax, args);
}

}  // namespace

void add_softmax_ops(std::vector<Op>& list) { list.push_back({"softmax", 1, 1, 1, infer, lower}); }

}  // namespace rtrnn
