// Long short-term memory ("Long Short-Term Memory", 1997; peepholes: "Learning Precise Timing with LSTM Recurrent Networks", 2002), gates i, f, g, o:
//   c' = f * c + i * g        h' = o * tanh(c')
// with an optional projection h' = weight_hr (o * tanh(c')) ("LSTM Recurrent Neural Network Architectures for Large Scale Acoustic Modeling", 2014; PyTorch proj_size) and ONNX's input_forget
// (f = 1 - i).
#include "ops/cell/cell.hpp"
#include "ops/linear/linear.hpp"
#include "ops/list.hpp"
#include "plan/packing.hpp"

namespace rtrnn {
namespace {

constexpr std::size_t weight_hr = 7, peephole = 8;

// Inputs: x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, peephole.
void infer(ShapeRule& rule) {
    const std::int64_t hidden = check_cell(rule, 4, 3, 3);
    const std::int64_t recurrent = rule.inputs[1][0];
    rule.expect(2, "c", {hidden});
    rule.expect(weight_hr, "weight_hr", {recurrent, hidden});
    rule.expect(peephole, "peephole", {3 * hidden});
    rule.expect_tensor(weight_hr, "weight_hr");
    rule.expect_tensor(peephole, "peephole");
    if (!rule.node.has_input(weight_hr)) rule.expect(1, "h", {hidden});
    rule.outputs = {{recurrent}, {hidden}};
}

void lower(Lowering& lowering, const PlanNode& node) {
    CellArgs args = cell_args(lowering, node, Cell::lstm, 4, 3, {0, 1, 2, 3}, {UnaryKind::sigmoid, UnaryKind::tanh, UnaryKind::tanh});
    args.c = lowering.in(node, 2);
    args.c_out = lowering.out(node, 1);
    args.input_forget = node.source->integer("input_forget", 0) != 0;
    if (node.has_input(peephole))
        args.peephole = lowering.packed(lowering.weights(node, peephole), args.hidden_size, args.width, {0, 1, 2});
    args.standard = args.standard && !args.input_forget && !args.peephole;
    const Ref h_out = args.h_out;
    if (node.has_input(weight_hr)) args.h_out = lowering.scratch(args.hidden_size);
    const MatrixKernels& kernels = lowering.matrix_kernels(args.weight_ih, args.weight_hh);
    lowering.emit_cell(node, kernels.lstm, args, 4 * tile_count(args.hidden_size, args.width) * args.width);
    if (node.has_input(weight_hr))
        emit_linear(lowering, args.h_out, h_out, lowering.weights(node, weight_hr), nullptr, args.recurrent_size, args.hidden_size, 1, {},
                    {lowering.precision(node, "weight_hr"), matrix_label(node, weight_hr, "weight_hr")});
}

}  // namespace

void add_lstm_ops(std::vector<Op>& list) { list.push_back({"lstm", 5, 9, 2, infer, lower}); }

}  // namespace rtrnn
