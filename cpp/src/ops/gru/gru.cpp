// Gated recurrent unit ("Learning Phrase Representations using RNN Encoder-Decoder", 2014), gates r, z, n; two forms that differ in where the reset gate acts:
//   reset "after" (PyTorch, cuDNN, Keras reset_after=True, ONNX linear_before_reset=1):
//       n = g(W_in x + b_in + r * (W_hn h + b_hn))
//   reset "before" (the paper, ONNX default):
//       n = g(W_in x + b_in + W_hn (r * h) + b_hn)
//   h' = (1 - z) * n + z * h
#include "ops/cell/cell.hpp"
#include "ops/list.hpp"
#include "plan/packing.hpp"

namespace rtrnn {
namespace {

// Inputs: x, h, weight_ih, weight_hh, bias_ih, bias_hh.
void infer(ShapeRule& rule) {
    const std::int64_t hidden = check_cell(rule, 3, 2, 2);
    rule.expect(1, "h", {hidden});
    const std::string reset = rule.node.text("reset", "after");
    if (reset != "after" && reset != "before") rule.fail("reset: expected 'after' or 'before', found '" + reset + "'");
    rule.outputs = {{hidden}};
}

void lower(Lowering& lowering, const PlanNode& node) {
    const bool after = node.source->text("reset", "after") == "after";
    const std::vector<int> recurrent_gates = after ? std::vector<int>{0, 1, 2} : std::vector<int>{0, 1};
    CellArgs args = cell_args(lowering, node, Cell::gru, 3, 2, recurrent_gates, {UnaryKind::sigmoid, UnaryKind::tanh});
    const std::int64_t padded = tile_count(args.hidden_size, args.width) * args.width;
    if (!after) {
        const float* weight_hh = lowering.weights(node, 3);
        args.weight_hn = lowering.matrix({weight_hh, args.hidden_size, args.recurrent_size, args.width, {2}, TileShape::reset, matrix_label(node, 3, "weight_hh")},
                                         args.weight_hh.precision);
        args.scratch = lowering.scratch(3 * padded);
    }
    const MatrixKernels& kernels = lowering.matrix_kernels(args.weight_ih, args.weight_hh);
    lowering.emit_cell(node, after ? kernels.gru : kernels.gru_before, args, 3 * padded);
}

}  // namespace

void add_gru_ops(std::vector<Op>& list) { list.push_back({"gru", 4, 6, 1, infer, lower}); }

}  // namespace rtrnn
