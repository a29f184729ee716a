#include "ops/elementwise/unary.hpp"

#include <cmath>
#include <iterator>

#include "ops/list.hpp"
#include "plan/lowering.hpp"

namespace rtrnn {
namespace {

struct Entry {
    const char* name;
    float alpha, beta;
};

// In the order of UnaryKind. The selu constants are those of "Self-Normalizing Neural Networks" (2017) as f32.
constexpr Entry entries[] = {
    {"identity", 0, 0},
    {"neg", 0, 0},
    {"abs", 0, 0},
    {"sqrt", 0, 0},
    {"exp", 0, 0},
    {"log", 0, 0},
    {"reciprocal", 0, 0},
    {"sign", 0, 0},
    {"erf", 0, 0},
    {"floor", 0, 0},
    {"ceil", 0, 0},
    {"relu", 0, 0},
    {"leaky_relu", 0.01f, 0},
    {"elu", 1, 0},
    {"selu", 1.67326319217681884765625f, 1.05070102214813232421875f},
    {"celu", 1, 0},
    {"sigmoid", 0, 0},
    {"tanh", 0, 0},
    {"softplus", 1, 20},
    {"softsign", 0, 0},
    {"gelu", 0, 0},
    {"gelu_tanh", 0, 0},
    {"silu", 1, 0},
    {"mish", 0, 0},
    {"hard_sigmoid", 0.2f, 0.5f},
    {"hard_swish", 0, 0},
    {"thresholded_relu", 1, 0},
    {"scaled_tanh", 1, 1},
    {"affine", 1, 0},
    {"clip", -HUGE_VALF, HUGE_VALF},
};
static_assert(std::size(entries) == static_cast<std::size_t>(UnaryKind::count));

void infer(ShapeRule& rule) {
    activation_of(rule.node);
    rule.outputs = {rule.inputs[0]};
}

void lower(Lowering& lowering, const PlanNode& node) {
    UnaryArgs args{};
    args.x = lowering.in(node, 0);
    args.y = lowering.out(node, 0);
    args.n = static_cast<std::int32_t>(element_count(lowering.shape(node.outputs[0])));
    args.activation = activation_of(*node.source);
    lowering.emit(lowering.kernels.unary, args);
}

}  // namespace

std::optional<UnaryKind> find_unary(std::string_view name) {
    for (std::size_t i = 0; i < std::size(entries); ++i)
        if (name == entries[i].name) return static_cast<UnaryKind>(i);
    return std::nullopt;
}

Activation default_activation(UnaryKind kind) {
    const Entry& entry = entries[static_cast<std::size_t>(kind)];
    return {kind, entry.alpha, entry.beta};
}

Activation activation_of(const Node& node) {
    Activation activation = default_activation(*find_unary(node.op));
    activation.alpha = static_cast<float>(node.real("alpha", activation.alpha));
    activation.beta = static_cast<float>(node.real("beta", activation.beta));
    return activation;
}

std::string unary_names() {
    std::string names;
    for (const Entry& entry : entries) names += (names.empty() ? "" : ", ") + std::string(entry.name);
    return names;
}

void add_unary_ops(std::vector<Op>& list) {
    for (const Entry& entry : entries) list.push_back({entry.name, 1, 1, 1, infer, lower});
}

}  // namespace rtrnn
