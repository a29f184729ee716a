// Layer normalisation over the last axis ("Layer Normalization", 2016): y = (x - mean) / sqrt(variance + eps) * weight + bias.
#include "ops/list.hpp"
#include "plan/lowering.hpp"

namespace rtrnn {
namespace {

// Inputs: x, weight, bias.
void infer(ShapeRule& rule) {
    const Shape features{rule.inputs[0].back()};
    rule.expect(1, "weight", features);
    rule.expect(2, "bias", features);
    rule.expect_tensor(1, "weight");
    rule.expect_tensor(2, "bias");
    if (!(rule.node.real("eps", 1e-5) >= 0)) rule.fail("eps must not be negative");
    rule.outputs = {rule.inputs[0]};
}

void lower(Lowering& lowering, const PlanNode& node) {
    const Shape& x = lowering.shape(node.inputs[0]);
    const auto vector = [&](std::size_t i) {
        const float* data = lowering.weights(node, i);
        return data ? lowering.constant(std::vector<float>(data, data + x.back())) : nullptr;
    };
    LayerNormArgs args{};
    args.x = lowering.in(node, 0);
    args.y = lowering.out(node, 0);
    args.weight = vector(1);
    args.bias = vector(2);
    args.n = static_cast<std::int32_t>(x.back());
    args.rows = static_cast<std::int32_t>(element_count(x) / x.back());
    args.eps = static_cast<float>(node.source->real("eps", 1e-5));
    lowering.emit(lowering.kernels.layer_norm, args);
}

}  // namespace

void add_layer_norm_ops(std::vector<Op>& list) { list.push_back({"layer_norm", 1, 3, 1, infer, lower}); }

}  // namespace rtrnn
