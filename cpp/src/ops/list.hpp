// The one list of op families. Adding an op: write its folder, declare its `add_*_ops` here, put it in the list.
#pragma once

#include <vector>

#include "ops/op.hpp"

namespace rtrnn {

void add_rnn_ops(std::vector<Op>& list);
void add_gru_ops(std::vector<Op>& list);
void add_lstm_ops(std::vector<Op>& list);
void add_linear_ops(std::vector<Op>& list);
void add_delta_ops(std::vector<Op>& list);
void add_conv_ops(std::vector<Op>& list);
void add_unary_ops(std::vector<Op>& list);
void add_binary_ops(std::vector<Op>& list);
void add_layer_norm_ops(std::vector<Op>& list);
void add_softmax_ops(std::vector<Op>& list);
void add_reduce_ops(std::vector<Op>& list);
void add_shape_ops(std::vector<Op>& list);

inline constexpr void (*op_families[])(std::vector<Op>&) = {
    add_rnn_ops,    add_gru_ops,        add_lstm_ops,    add_linear_ops, add_conv_ops,  add_unary_ops,
    add_binary_ops, add_layer_norm_ops, add_softmax_ops, add_reduce_ops, add_shape_ops, add_delta_ops,
};

}  // namespace rtrnn
