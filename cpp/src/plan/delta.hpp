// Delta updates as a rewrite of the Graph ("Delta Networks for Optimized Recurrent Network Computation", 2017; "EdgeDRNN", 2020).
#pragma once

#include "graph/graph.hpp"

namespace rtrnn {

// The Graph with its rnn, gru and lstm nodes written out: both products become delta_linear nodes with this threshold, whose running sums and
// last used operands are states NODE.delta_x, NODE.delta_h (the operands), NODE.delta_sum_x, NODE.delta_sum_h, and the gates elementary nodes.
// Cells with reset "before", peepholes or input_forget stay as they are. Throws Error(invalid_argument) for a threshold that is no number from 0 on.
RTRNN_EXPORT Graph with_delta_updates(const Graph& graph, double threshold);

}  // namespace rtrnn
