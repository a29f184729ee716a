// Leaky integrator: h' = h + rate (x - h). Inputs: x, h.
#include "ops/list.hpp"
#include "plan/lowering.hpp"

namespace rtrnn {
namespace {

void infer(ShapeRule& rule) {
    rule.expect(1, "h", rule.inputs[0]);
    const double rate = rule.node.real("rate", 0.5);
    if (!(rate >= 0 && rate <= 1)) rule.fail("rate must be in [0, 1]");
    rule.outputs = {rule.inputs[0]};
}

void add(Lowering& lowering, BinaryKind kind, Ref a, Ref b, Ref y, std::int32_t n) {
    BinaryArgs args{};
    args.a = a;
    args.b = b;
    args.y = y;
    args.kind = kind;
    args.outer = 1;
    args.n = n;
    args.a_inner = args.b_inner = 1;
    lowering.emit(lowering.kernels.binary, args);
}

void lower(Lowering& lowering, const PlanNode& node) {
    const std::int32_t n = static_cast<std::int32_t>(element_count(lowering.shape(node.inputs[0])));
    const Ref h = lowering.in(node, 1), difference = lowering.scratch(n), change = lowering.scratch(n);
    add(lowering, BinaryKind::sub, lowering.in(node, 0), h, difference, n);
    UnaryArgs scaled{};
    scaled.x = difference;
    scaled.y = change;
    scaled.n = n;
    scaled.activation = {UnaryKind::affine, static_cast<float>(node.source->real("rate", 0.5)), 0.0f};
    lowering.emit(lowering.kernels.unary, scaled);
    add(lowering, BinaryKind::add, h, change, lowering.out(node, 0), n);
}

}  // namespace

void add_leaky_integrator_ops(std::vector<Op>& list) { list.push_back({"leaky_integrator", 2, 2, 1, infer, lower}); }

}  // namespace rtrnn
