#include "ops/op.hpp"

#include <algorithm>

#include "ops/list.hpp"

namespace rtrnn {

void ShapeRule::fail(const std::string& message) const {
    throw Error(ErrorKind::invalid_graph, "node '" + node.name + "' (" + node.op + "): " + message);
}

void ShapeRule::expect(std::size_t i, const char* role, const Shape& shape) const {
    if (!node.has_input(i) || inputs[i] == shape) return;
    fail(std::string(role) + " '" + node.inputs[i] + "': expected shape " + to_string(shape) + ", found " + to_string(inputs[i]));
}

void ShapeRule::expect_tensor(std::size_t i, const char* role) const {
    if (node.has_input(i) && !graph.find_tensor(node.inputs[i]))
        fail(std::string(role) + " '" + node.inputs[i] + "' must be a tensor, not a computed value");
}

std::size_t ShapeRule::axis(const std::string& key) const {
    const std::int64_t axis = node.integer(key, 0);
    if (axis < 0 || axis >= static_cast<std::int64_t>(inputs[0].size()))
        fail(key + " " + std::to_string(axis) + " is not an axis of shape " + to_string(inputs[0]));
    return static_cast<std::size_t>(axis);
}

namespace {

const std::vector<Op>& all_ops() {
    static const std::vector<Op> ops = [] {
        std::vector<Op> list;
        for (void (*add)(std::vector<Op>&) : op_families) add(list);
        std::sort(list.begin(), list.end(), [](const Op& a, const Op& b) { return std::string_view(a.name) < b.name; });
        return list;
    }();
    return ops;
}

}  // namespace

const Op* find_op(std::string_view name) {
    const auto& ops = all_ops();
    const auto found = std::lower_bound(ops.begin(), ops.end(), name, [](const Op& op, std::string_view n) { return op.name < n; });
    return found != ops.end() && found->name == name ? &*found : nullptr;
}

std::string op_names() {
    std::string names;
    for (const Op& op : all_ops()) names += (names.empty() ? "" : ", ") + std::string(op.name);
    return names;
}

}  // namespace rtrnn
