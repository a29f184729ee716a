#include "ops/cell/cell.hpp"

#include "ops/elementwise/unary.hpp"
#include "plan/sparse.hpp"

namespace rtrnn {
namespace {

// The cell's activations: the named ones with their alpha and beta, else the standard ones.
std::vector<Activation> cell_activations(const Node& node, std::initializer_list<UnaryKind> standard) {
    const auto names = node.texts("activations");
    const auto alpha = node.reals("alpha"), beta = node.reals("beta");
    std::vector<Activation> out;
    std::size_t i = 0;
    for (const UnaryKind kind : standard) {
        const UnaryKind chosen = names.empty() ? kind : *find_unary(names[i]);
        Activation activation = default_activation(chosen);
        if (!alpha.empty()) activation.alpha = static_cast<float>(alpha[i]);
        if (!beta.empty()) activation.beta = static_cast<float>(beta[i]);
        out.push_back(activation);
        ++i;
    }
    return out;
}

// Of the gates whose rows lie side by side.
TileShape tile_shape(const std::vector<int>& gates) {
    constexpr TileShape shapes[] = {TileShape::linear, TileShape::two, TileShape::three, TileShape::four};
    return shapes[gates.size() - 1];
}

}  // namespace

std::int64_t check_cell(const ShapeRule& rule, int gates, std::size_t first_weight, std::size_t activations) {
    const Node& node = rule.node;
    const Shape& x = rule.inputs[0];
    const Shape& h = rule.inputs[1];
    if (x.size() != 1) rule.fail("x '" + node.inputs[0] + "': expected one dimension, found shape " + to_string(x));
    if (h.size() != 1) rule.fail("h '" + node.inputs[1] + "': expected one dimension, found shape " + to_string(h));
    const Shape& weight_hh = rule.inputs[first_weight + 1];
    if (weight_hh.size() != 2 || weight_hh[0] % gates != 0)
        rule.fail("weight_hh '" + node.inputs[first_weight + 1] + "': expected shape (" + std::to_string(gates) + " * hidden_size, " +
                  std::to_string(h[0]) + "), found " + to_string(weight_hh));
    const std::int64_t hidden = weight_hh[0] / gates;
    rule.expect(first_weight, "weight_ih", {gates * hidden, x[0]});
    rule.expect(first_weight + 1, "weight_hh", {gates * hidden, h[0]});
    rule.expect(first_weight + 2, "bias_ih", {gates * hidden});
    rule.expect(first_weight + 3, "bias_hh", {gates * hidden});
    for (std::size_t i = 0; i < 4; ++i) rule.expect_tensor(first_weight + i, "weight or bias");

    const auto names = node.texts("activations");
    if (!names.empty() && names.size() != activations)
        rule.fail("expected " + std::to_string(activations) + " activations, found " + std::to_string(names.size()));
    for (const std::string& name : names)
        if (!find_unary(name)) rule.fail("unknown activation '" + name + "'; known are " + unary_names());
    for (const char* key : {"alpha", "beta"})
        if (const auto values = node.reals(key); !values.empty() && values.size() != activations)
            rule.fail(std::string(key) + ": expected " + std::to_string(activations) + " numbers, found " + std::to_string(values.size()));
    if (!(node.real("clip", 0) >= 0)) rule.fail("clip must not be negative");
    const std::string direction = node.text("direction", "forward");
    if (direction != "forward" && direction != "reverse") rule.fail("direction: expected 'forward' or 'reverse', found '" + direction + "'");
    return hidden;
}

CellArgs cell_args(Lowering& lowering, const PlanNode& node, Cell cell, int gates, std::size_t first_weight,
                   const std::vector<int>& hh_gates, std::initializer_list<UnaryKind> standard) {
    const Shape& weight_ih = lowering.shape(node.inputs[first_weight]);
    const Shape& weight_hh = lowering.shape(node.inputs[first_weight + 1]);
    const std::int64_t hidden = weight_hh[0] / gates;
    const Precision ih = lowering.precision(node, "weight_ih"), hh = lowering.state_precision(node, "weight_hh");
    const auto sparse = [&](std::size_t i, Precision precision, std::int64_t cols) {
        return precision == Precision::f32 && pays_sparse(lowering.weights(node, i), gates, hidden, cols);
    };
    const bool sparse_ih = sparse(first_weight, ih, weight_ih[1]), sparse_hh = sparse(first_weight + 1, hh, weight_hh[1]);
    const std::int64_t width = sparse_ih || sparse_hh ? sparse_rows : lowering.kernels.tile_width(cell, hh == Precision::f32 ? ih : hh, static_cast<std::int32_t>(hidden),
                                                           static_cast<std::int32_t>(weight_ih[1] + weight_hh[1]));
    std::vector<int> all;
    for (int g = 0; g < gates; ++g) all.push_back(g);
    const auto matrix = [&](std::size_t i, const char* role, Precision precision, std::int64_t cols, const std::vector<int>& taken, bool is_sparse) {
        return lowering.matrix({lowering.weights(node, i), hidden, cols, width, taken, tile_shape(taken), matrix_label(node, i, role), is_sparse}, precision);
    };

    CellArgs args{};
    args.x = lowering.in(node, 0);
    args.h = lowering.in(node, 1);
    args.h_out = lowering.out(node, 0);
    args.weight_ih = matrix(first_weight, "weight_ih", ih, weight_ih[1], all, sparse_ih);
    args.weight_hh = matrix(first_weight + 1, "weight_hh", hh, weight_hh[1], hh_gates, sparse_hh);
    args.x_quantized = lowering.quantized(ih, weight_ih[1]);
    args.h_quantized = lowering.quantized(hh, weight_hh[1]);
    args.bias_ih = lowering.packed(lowering.weights(node, first_weight + 2), hidden, width, all);
    args.bias_hh = lowering.packed(lowering.weights(node, first_weight + 3), hidden, width, all);
    args.input_size = static_cast<std::int32_t>(weight_ih[1]);
    args.recurrent_size = static_cast<std::int32_t>(weight_hh[1]);
    args.hidden_size = static_cast<std::int32_t>(hidden);
    args.width = static_cast<std::int32_t>(width);
    args.clip = static_cast<float>(node.source->real("clip", 0));
    args.standard = args.clip == 0;
    const std::vector<Activation> activations = cell_activations(*node.source, standard);
    std::size_t i = 0;
    for (const UnaryKind kind : standard) {
        args.activation[i] = activations[i];
        args.standard = args.standard && activations[i].kind == kind;
        ++i;
    }
    return args;
}

}  // namespace rtrnn
