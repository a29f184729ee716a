// Matrices with many zeros, packed without them. A block is 16 rows of one gate by one column, on every ISA, so that what is left out, and with
// it every bit, is the same everywhere.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/kernels.hpp"

namespace rtrnn {

// True when a (gates * rows, cols) matrix has so many blocks of exact zeros that leaving them out pays.
bool pays_sparse(const float* weight, std::int64_t gates, std::int64_t rows, std::int64_t cols);

struct SparseMatrix {
    std::vector<float> weights;               // [block][16]
    std::vector<std::int32_t> first_block;    // [tile][gate], and the end
    std::vector<std::int32_t> block_column;
};

// The blocks that are not zero, by tile and gate; within these [32 * partials columns][i][partial sum], `partials` being the shape's (sums.inl):
// block i of that partial sum, or zeros behind its last one, up to as many as the longest has.
SparseMatrix pack_sparse(const float* weight, std::int64_t rows, std::int64_t cols, const std::vector<int>& gates, int partials);

}  // namespace rtrnn
