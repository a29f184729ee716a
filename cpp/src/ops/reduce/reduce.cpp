// Sum, mean, maximum or minimum over a set of axes.
#include <algorithm>
#include <iterator>

#include "ops/list.hpp"
#include "ops/shape/indices.hpp"
#include "plan/lowering.hpp"

namespace rtrnn {
namespace {

constexpr const char* names[] = {"reduce_sum", "reduce_mean", "reduce_max", "reduce_min"};
static_assert(std::size(names) == static_cast<std::size_t>(ReduceKind::count));

void infer(ShapeRule& rule) {
    const Shape& x = rule.inputs[0];
    const bool keep = rule.node.integer("keepdims", 0) != 0;
    std::vector<bool> reduced(x.size(), false);
    const auto axes = rule.node.integers("axes");
    if (axes.empty()) rule.fail("axes: at least one is needed");
    for (const std::int64_t axis : axes) {
        if (axis < 0 || axis >= static_cast<std::int64_t>(x.size()) || reduced[static_cast<std::size_t>(axis)])
            rule.fail("axes: " + std::to_string(axis) + " is not an axis of shape " + to_string(x) + ", or is given twice");
        reduced[static_cast<std::size_t>(axis)] = true;
    }
    Shape y;
    for (std::size_t i = 0; i < x.size(); ++i) {
        if (!reduced[i]) y.push_back(x[i]);
        else if (keep) y.push_back(1);
    }
    if (y.empty()) y.push_back(1);
    rule.outputs = {y};
}

void lower(Lowering& lowering, const PlanNode& node) {
    const Shape& x = lowering.shape(node.inputs[0]);
    std::vector<std::int64_t> axes = node.source->integers("axes");
    std::sort(axes.begin(), axes.end());
    ReduceArgs args{};
    args.x = lowering.in(node, 0);
    args.y = lowering.out(node, 0);
    args.kind = static_cast<ReduceKind>(std::find(std::begin(names), std::end(names), std::string(node.op->name)) - std::begin(names));
    std::int64_t outer = 1, reduce = 1, inner = 1;
    const bool adjacent = axes.back() - axes.front() + 1 == static_cast<std::int64_t>(axes.size());
    std::vector<std::int64_t> order;   // kept axes first, then reduced ones: used when those are not adjacent
    for (std::size_t i = 0; i < x.size(); ++i) {
        const auto axis = static_cast<std::int64_t>(i);
        if (std::find(axes.begin(), axes.end(), axis) != axes.end()) {
            reduce *= x[i];
        } else {
            order.push_back(axis);
            (adjacent && axis > axes.back() ? inner : outer) *= x[i];
        }
    }
    if (!adjacent) {
        order.insert(order.end(), axes.begin(), axes.end());
        args.x = lowering.gathered(args.x, permute_indices(x, order));
    }
    args.outer = static_cast<std::int32_t>(outer);
    args.reduce = static_cast<std::int32_t>(reduce);
    args.inner = static_cast<std::int32_t>(inner);
    lowering.emit(lowering.kernels.reduce, args);
}

}  // namespace

void add_reduce_ops(std::vector<Op>& list) {
    for (const char* name : names) list.push_back({name, 1, 1, 1, infer, lower});
}

}  // namespace rtrnn
