// Weights and biases in the order in which the kernels read them (kernels.hpp: LinearArgs, CellArgs).
#pragma once

#include <cstdint>
#include <vector>

namespace rtrnn {

// Rows of a (gates * rows, cols) matrix as [tile][col][gate][width]; `gates` lists the gates to take, in order.
std::vector<float> pack_matrix(const float* weight, std::int64_t rows, std::int64_t cols, std::int64_t width, const std::vector<int>& gates);

// A (gates * rows) vector as [tile][gate][width]; zeros when `bias` is null.
std::vector<float> pack_vector(const float* bias, std::int64_t rows, std::int64_t width, const std::vector<int>& gates);

inline std::int64_t tile_count(std::int64_t rows, std::int64_t width) { return (rows + width - 1) / width; }

}  // namespace rtrnn
