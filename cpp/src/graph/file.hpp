// The .rtrnn file: a safetensors container whose `__metadata__` holds the Graph as JSON. Layout: cpp/README.md.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "graph/graph.hpp"

namespace rtrnn {

// Reads a file (memory-mapped where the system can; tensors then live in the mapping) or a buffer (copied).
// Everything in it is checked before use; throws Error(io) or Error(invalid_file).
RTRNN_EXPORT Graph load_graph(const std::string& path);
RTRNN_EXPORT Graph parse_graph(const void* data, std::size_t size, const std::string& source = "buffer");

// Writes through a temporary file in the same folder and renames it, so that no half-written file is ever seen.
RTRNN_EXPORT void save_graph(const Graph& graph, const std::string& path);
RTRNN_EXPORT std::vector<char> serialize_graph(const Graph& graph);

}  // namespace rtrnn
