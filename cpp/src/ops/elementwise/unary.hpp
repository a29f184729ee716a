// Names and default constants of the unary functions (cpp/README.md).
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "graph/graph.hpp"
#include "kernels/kernels.hpp"

namespace rtrnn {

std::optional<UnaryKind> find_unary(std::string_view name);   // null for an unknown name
Activation default_activation(UnaryKind kind);
Activation activation_of(const Node& node);                   // node.op with the node's alpha and beta
std::string unary_names();

}  // namespace rtrnn
