// Binary functions with NumPy broadcasting. The kernel walks two nested loops; whatever needs more has its operands expanded.
#include <algorithm>
#include <iterator>

#include "ops/list.hpp"
#include "ops/shape/indices.hpp"
#include "plan/lowering.hpp"

namespace rtrnn {
namespace {

constexpr const char* names[] = {"add", "sub", "mul", "div", "min", "max", "pow"};
static_assert(std::size(names) == static_cast<std::size_t>(BinaryKind::count));

void infer(ShapeRule& rule) {
    const Shape& a = rule.inputs[0];
    const Shape& b = rule.inputs[1];
    Shape y(std::max(a.size(), b.size()), 1);
    for (std::size_t i = 1; i <= y.size(); ++i) {
        const std::int64_t da = i <= a.size() ? a[a.size() - i] : 1;
        const std::int64_t db = i <= b.size() ? b[b.size() - i] : 1;
        if (da != db && da != 1 && db != 1) rule.fail("shapes " + to_string(a) + " and " + to_string(b) + " do not broadcast");
        y[y.size() - i] = std::max(da, db);
    }
    rule.outputs = {y};
}

struct Loop {
    std::int64_t size, a, b;   // and the operands' strides
};

// The loops over y with the strides of both operands, outermost first, neighbours that walk as one joined.
std::vector<Loop> loops(const Shape& y, const Shape& a, const Shape& b) {
    std::vector<Loop> out;   // innermost first while it grows
    std::int64_t stride_a = 1, stride_b = 1;
    for (std::size_t i = 1; i <= y.size(); ++i) {
        const std::int64_t size = y[y.size() - i];
        const std::int64_t da = i <= a.size() ? a[a.size() - i] : 1;
        const std::int64_t db = i <= b.size() ? b[b.size() - i] : 1;
        const Loop loop{size, da == 1 ? 0 : stride_a, db == 1 ? 0 : stride_b};
        stride_a *= da;
        stride_b *= db;
        if (size == 1) continue;
        if (!out.empty() && loop.a == out.back().a * out.back().size && loop.b == out.back().b * out.back().size)
            out.back().size *= size;
        else
            out.push_back(loop);
    }
    if (out.empty()) out.push_back({1, 1, 1});
    std::reverse(out.begin(), out.end());
    return out;
}

void lower(Lowering& lowering, const PlanNode& node) {
    const Shape& y = lowering.shape(node.outputs[0]);
    const Shape& a = lowering.shape(node.inputs[0]);
    const Shape& b = lowering.shape(node.inputs[1]);
    BinaryArgs args{};
    args.a = lowering.in(node, 0);
    args.b = lowering.in(node, 1);
    args.y = lowering.out(node, 0);
    args.kind = static_cast<BinaryKind>(std::find(std::begin(names), std::end(names), std::string(node.op->name)) - std::begin(names));
    std::vector<Loop> nest = loops(y, a, b);
    if (nest.size() > 2) {
        if (a != y) args.a = lowering.gathered(args.a, expand_indices(a, y));
        if (b != y) args.b = lowering.gathered(args.b, expand_indices(b, y));
        nest = {{element_count(y), 1, 1}};
    }
    const Loop& inner = nest.back();
    args.n = static_cast<std::int32_t>(inner.size);
    args.a_inner = static_cast<std::int32_t>(inner.a);
    args.b_inner = static_cast<std::int32_t>(inner.b);
    args.outer = 1;
    if (nest.size() == 2) {
        args.outer = static_cast<std::int32_t>(nest[0].size);
        args.a_outer = static_cast<std::int32_t>(nest[0].a);
        args.b_outer = static_cast<std::int32_t>(nest[0].b);
    }
    lowering.emit(lowering.kernels.binary, args);
}

}  // namespace

void add_binary_ops(std::vector<Op>& list) {
    for (const char* name : names) list.push_back({name, 2, 2, 1, infer, lower});
}

}  // namespace rtrnn
