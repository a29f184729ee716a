// concat, slice, gather, permute, reshape, expand, last. Placement makes them free where their elements are adjacent in
// memory (plan/placement.cpp); only what is left over runs, as a gather.
#include <algorithm>
#include <numeric>

#include "ops/list.hpp"
#include "ops/shape/indices.hpp"
#include "plan/lowering.hpp"

namespace rtrnn {
namespace {

// Row-major strides of `shape`.
std::vector<std::int64_t> strides(const Shape& shape) {
    std::vector<std::int64_t> out(shape.size(), 1);
    for (std::size_t i = shape.size(); i-- > 1;) out[i - 1] = out[i] * shape[i];
    return out;
}

// The indices of a result of shape `y` whose axis i steps through the operand by step[i], from `start`.
std::vector<std::int32_t> strided(const Shape& y, const std::vector<std::int64_t>& step, std::int64_t start) {
    std::vector<std::int32_t> out{static_cast<std::int32_t>(start)};
    for (std::size_t axis = 0; axis < y.size(); ++axis) {
        std::vector<std::int32_t> grown;
        grown.reserve(out.size() * static_cast<std::size_t>(y[axis]));
        for (const std::int32_t base : out)
            for (std::int64_t i = 0; i < y[axis]; ++i) grown.push_back(static_cast<std::int32_t>(base + i * step[axis]));
        out = std::move(grown);
    }
    return out;
}

void infer_concat(ShapeRule& rule) {
    const std::size_t axis = rule.axis("axis");
    Shape y = rule.inputs[0];
    for (std::size_t i = 1; i < rule.inputs.size(); ++i) {
        Shape expected = rule.inputs[0];
        if (rule.inputs[i].size() == expected.size()) expected[axis] = rule.inputs[i][axis];
        rule.expect(i, "input", expected);
        y[axis] += rule.inputs[i][axis];
    }
    rule.outputs = {y};
}

void infer_slice(ShapeRule& rule) {
    const std::size_t axis = rule.axis("axis");
    Shape y = rule.inputs[0];
    const std::int64_t start = rule.node.integer("start", 0), stop = rule.node.integer("stop", 0), step = rule.node.integer("step", 1);
    if (step < 1 || start < 0 || stop <= start || stop > y[axis] + step - 1 || start >= y[axis])
        rule.fail("start " + std::to_string(start) + ", stop " + std::to_string(stop) + ", step " + std::to_string(step) +
                  ": expected 0 <= start < stop <= " + std::to_string(y[axis]) + " and step >= 1");
    y[axis] = (std::min(stop, y[axis]) - start + step - 1) / step;
    rule.outputs = {y};
}

void infer_gather(ShapeRule& rule) {
    const std::size_t axis = rule.axis("axis");
    Shape y = rule.inputs[0];
    const auto indices = rule.node.integers("indices");
    if (indices.empty()) rule.fail("indices: at least one is needed");
    for (const std::int64_t i : indices)
        if (i < 0 || i >= y[axis]) rule.fail("index " + std::to_string(i) + " is outside axis " + std::to_string(axis) + " of shape " + to_string(y));
    y[axis] = static_cast<std::int64_t>(indices.size());
    rule.outputs = {y};
}

void infer_permute(ShapeRule& rule) {
    const Shape& x = rule.inputs[0];
    const auto axes = rule.node.integers("axes");
    std::vector<std::int64_t> sorted = axes;
    std::sort(sorted.begin(), sorted.end());
    Shape y;
    for (std::size_t i = 0; i < x.size(); ++i)
        if (sorted.size() != x.size() || sorted[i] != static_cast<std::int64_t>(i)) rule.fail("axes: expected each axis of shape " + to_string(x) + " once");
    for (const std::int64_t axis : axes) y.push_back(x[static_cast<std::size_t>(axis)]);
    rule.outputs = {y};
}

void check_positive(const ShapeRule& rule, const Shape& y) {
    for (const std::int64_t d : y)
        if (d < 1 || d > Graph::max_value_elements) rule.fail("shape " + to_string(y) + " is not possible");
}

void infer_reshape(ShapeRule& rule) {
    const Shape y = rule.node.integers("shape");
    check_positive(rule, y);
    std::int64_t left = element_count(rule.inputs[0]);
    for (const std::int64_t d : y) {
        if (left % d != 0) rule.fail("cannot reshape " + to_string(rule.inputs[0]) + " to " + to_string(y));
        left /= d;
    }
    if (left != 1) rule.fail("cannot reshape " + to_string(rule.inputs[0]) + " to " + to_string(y));
    rule.outputs = {y};
}

void infer_expand(ShapeRule& rule) {
    const Shape& x = rule.inputs[0];
    const Shape y = rule.node.integers("shape");
    check_positive(rule, y);
    bool fits = y.size() >= x.size();
    for (std::size_t i = 1; fits && i <= x.size(); ++i) fits = x[x.size() - i] == 1 || x[x.size() - i] == y[y.size() - i];
    if (!fits) rule.fail("cannot expand " + to_string(x) + " to " + to_string(y));
    rule.outputs = {y};
}

void infer_last(ShapeRule& rule) { rule.outputs = {rule.inputs[0]}; }

void lower_rearrangement(Lowering& lowering, const PlanNode& node) {
    const Shape& x = lowering.shape(node.inputs[0]);
    const Shape& y = lowering.shape(node.outputs[0]);
    GatherArgs args{};
    args.x = lowering.in(node, 0);
    args.y = lowering.out(node, 0);
    const std::vector<std::int32_t> indices = rearrangement(*node.source, x, y);
    args.index = lowering.constant(indices);
    args.n = static_cast<std::int32_t>(indices.size());
    lowering.emit(lowering.kernels.gather, args);
}

// Joins its inputs end to end; when the axis is not the outermost one, the joined elements are then put in order.
void lower_concat(Lowering& lowering, const PlanNode& node) {
    const Shape& y = lowering.shape(node.outputs[0]);
    const auto axis = static_cast<std::size_t>(node.source->integer("axis", 0));
    const Ref joined = lowering.scratch(element_count(y));
    std::vector<std::int32_t> indices(static_cast<std::size_t>(element_count(y)));
    const std::int64_t inner = strides(y)[axis];
    std::int64_t start = 0, at = 0;
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
        const Shape& x = lowering.shape(node.inputs[i]);
        const std::int64_t count = element_count(x), run = x[axis] * inner;
        for (std::int64_t e = 0; e < count; ++e)
            indices[static_cast<std::size_t>(e / run * y[axis] * inner + at * inner + e % run)] = static_cast<std::int32_t>(start + e);
        Ref part = joined;
        part.offset += start;
        lowering.copy(lowering.in(node, i), part, count);
        start += count;
        at += x[axis];
    }
    GatherArgs args{};
    args.x = joined;
    args.y = lowering.out(node, 0);
    args.index = lowering.constant(indices);
    args.n = static_cast<std::int32_t>(indices.size());
    lowering.emit(lowering.kernels.gather, args);
}

}  // namespace

std::vector<std::int32_t> permute_indices(const Shape& x, const std::vector<std::int64_t>& axes) {
    const std::vector<std::int64_t> from = strides(x);
    Shape y;
    std::vector<std::int64_t> step;
    for (const std::int64_t axis : axes) {
        y.push_back(x[static_cast<std::size_t>(axis)]);
        step.push_back(from[static_cast<std::size_t>(axis)]);
    }
    return strided(y, step, 0);
}

std::vector<std::int32_t> expand_indices(const Shape& x, const Shape& y) {
    const std::vector<std::int64_t> from = strides(x);
    std::vector<std::int64_t> step(y.size(), 0);
    for (std::size_t i = 1; i <= x.size(); ++i)
        if (x[x.size() - i] != 1) step[y.size() - i] = from[x.size() - i];
    return strided(y, step, 0);
}

bool is_rearrangement(const Node& node) {
    for (const char* op : {"slice", "gather", "permute", "reshape", "expand", "last"})
        if (node.op == op) return true;
    return false;
}

std::vector<std::int32_t> rearrangement(const Node& node, const Shape& x, const Shape& y) {
    if (node.op == "permute") return permute_indices(x, node.integers("axes"));
    if (node.op == "expand") return expand_indices(x, y);
    const std::vector<std::int64_t> from = strides(x);
    if (node.op == "slice") {
        const auto axis = static_cast<std::size_t>(node.integer("axis", 0));
        std::vector<std::int64_t> step = from;
        step[axis] *= node.integer("step", 1);
        return strided(y, step, node.integer("start", 0) * from[axis]);
    }
    if (node.op == "gather") {
        const auto axis = static_cast<std::size_t>(node.integer("axis", 0));
        const auto chosen = node.integers("indices");
        std::vector<std::int32_t> out;
        const std::int64_t inner = from[axis], outer = element_count(x) / (inner * x[axis]);
        for (std::int64_t o = 0; o < outer; ++o)
            for (const std::int64_t i : chosen)
                for (std::int64_t e = 0; e < inner; ++e) out.push_back(static_cast<std::int32_t>((o * x[axis] + i) * inner + e));
        return out;
    }
    std::vector<std::int32_t> same(static_cast<std::size_t>(element_count(x)));
    std::iota(same.begin(), same.end(), 0);
    return same;
}

void add_shape_ops(std::vector<Op>& list) {
    list.push_back({"concat", 1, Graph::max_names, 1, infer_concat, lower_concat});
    list.push_back({"slice", 1, 1, 1, infer_slice, lower_rearrangement});
    list.push_back({"gather", 1, 1, 1, infer_gather, lower_rearrangement});
    list.push_back({"permute", 1, 1, 1, infer_permute, lower_rearrangement});
    list.push_back({"reshape", 1, 1, 1, infer_reshape, lower_rearrangement});
    list.push_back({"expand", 1, 1, 1, infer_expand, lower_rearrangement});
    list.push_back({"last", 1, 1, 1, infer_last, lower_rearrangement});
}

}  // namespace rtrnn
