// Weights and biases in the order in which the kernels read them (kernels.hpp: Matrix, LinearArgs, CellArgs).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/kernels.hpp"

namespace rtrnn {

// Rows of a (gates * rows, cols) matrix as [tile][col][gate][width]; `gates` lists the gates to take, in order.
std::vector<float> pack_matrix(const float* weight, std::int64_t rows, std::int64_t cols, std::int64_t width, const std::vector<int>& gates);

// A (gates * rows) vector as [tile][gate][width]; zeros when `bias` is null.
std::vector<float> pack_vector(const float* bias, std::int64_t rows, std::int64_t width, const std::vector<int>& gates);

// A matrix in fewer bits: the bytes of Matrix::weights; for integers Matrix::scale and, where the operand is raised, Matrix::start.
struct PackedMatrix {
    std::vector<std::byte> weights;
    std::vector<float> scale;
    std::vector<std::int32_t> start;
};

// `precision` is not f32. f16 and bf16 round each weight to nearest even; integers are multiples of their row's scale, the smallest
// for which no weight is beyond 127 (i8) or 32767 (i16) and no sum of a row beyond 32 bits, whatever the operand: the operand's
// integers lie in [-8191, 8191] (i8_state: [-127, 127]), so the row's may add up to (2^31 - 1) / 8191 (127) in magnitude. `tiles` says how columns are
// grouped. Throws Error(unsupported) that begins with `label` for a weight that the precision cannot hold and for rows too long to leave that room.
PackedMatrix pack_reduced(const float* weight, std::int64_t rows, std::int64_t cols, std::int64_t width, const std::vector<int>& gates,
                          Precision precision, const TileTable& tiles, const std::string& label);

inline std::int64_t tile_count(std::int64_t rows, std::int64_t width) { return (rows + width - 1) / width; }

}  // namespace rtrnn
