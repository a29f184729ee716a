// Vanilla RNN: h' = f(W_ih x + b_ih + W_hh h + b_hh), f = tanh unless said otherwise (relu in PyTorch's other form).
#include "ops/cell/cell.hpp"
#include "ops/list.hpp"
#include "plan/packing.hpp"

namespace rtrnn {
namespace {

// Inputs: x, h, weight_ih, weight_hh, bias_ih, bias_hh.
void infer(ShapeRule& rule) {
    const std::int64_t hidden = check_cell(rule, 1, 2, 1);
    rule.expect(1, "h", {hidden});
    rule.outputs = {{hidden}};
}

void lower(Lowering& lowering, const PlanNode& node) {
    const CellArgs args = cell_args(lowering, node, Cell::rnn, 1, 2, {0}, {UnaryKind::tanh});
    const MatrixKernels& kernels = lowering.matrix_kernels(args.weight_ih, args.weight_hh);
    lowering.emit_cell(node, kernels.rnn, args, tile_count(args.hidden_size, args.width) * args.width);
}

}  // namespace

void add_rnn_ops(std::vector<Op>& list) { list.push_back({"rnn", 4, 6, 1, infer, lower}); }

}  // namespace rtrnn
