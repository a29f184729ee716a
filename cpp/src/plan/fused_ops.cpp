#include "plan/fused_ops.hpp"

#include "plan/lowering.hpp"

namespace rtrnn {
namespace {

void lower_normalize(Lowering& lowering, const PlanNode& node, bool divide) {
    const auto n = static_cast<std::size_t>(element_count(lowering.shape(node.outputs[0])));
    const float* mean = lowering.weights(node, 1);
    const float* deviation = lowering.weights(node, 2);
    std::vector<float> scale(n);
    for (std::size_t i = 0; i < n; ++i) scale[i] = divide ? static_cast<float>(1.0 / static_cast<double>(deviation[i])) : deviation[i];
    NormalizeArgs args{};
    args.x = lowering.in(node, 0);
    args.y = lowering.out(node, 0);
    args.mean = lowering.constant(std::vector<float>(mean, mean + n));
    args.scale = lowering.constant(scale);
    args.n = static_cast<std::int32_t>(n);
    lowering.emit(lowering.kernels.normalize, args);
}

void no_rule(ShapeRule&) {}   // never in a Graph: shapes were checked on the nodes it replaces

}  // namespace

const Op normalize_by_division{"normalize", 3, 3, 1, no_rule, [](Lowering& l, const PlanNode& n) { lower_normalize(l, n, true); }};
const Op normalize_by_product{"normalize", 3, 3, 1, no_rule, [](Lowering& l, const PlanNode& n) { lower_normalize(l, n, false); }};

}  // namespace rtrnn
