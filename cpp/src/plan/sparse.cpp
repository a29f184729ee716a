#include "plan/sparse.hpp"

#include <algorithm>

#include "plan/packing.hpp"

namespace rtrnn {
namespace {

constexpr std::int64_t chain_length = 32;   // of sums.inl
constexpr std::int64_t smallest_bytes = 32 * 1024;
constexpr double smallest_share = 0.4;      // of blocks that are zero; at 0.3 nothing is gained, at 0.5 a third

bool is_zero_block(const float* weight, std::int64_t first, std::int64_t count, std::int64_t cols, std::int64_t col) {
    for (std::int64_t row = first; row < first + count; ++row)
        if (weight[row * cols + col] != 0) return false;
    return true;
}

}  // namespace

bool pays_sparse(const float* weight, std::int64_t gates, std::int64_t rows, std::int64_t cols) {
    if (rows < sparse_rows || gates * rows * cols * std::int64_t{sizeof(float)} < smallest_bytes) return false;
    std::int64_t zero = 0, blocks = 0;
    for (std::int64_t gate = 0; gate < gates; ++gate)
        for (std::int64_t row = 0; row < rows; row += sparse_rows)
            for (std::int64_t col = 0; col < cols; ++col) {
                ++blocks;
                zero += is_zero_block(weight, gate * rows + row, std::min<std::int64_t>(sparse_rows, rows - row), cols, col);
            }
    return static_cast<double>(zero) >= smallest_share * static_cast<double>(blocks);
}

SparseMatrix pack_sparse(const float* weight, std::int64_t rows, std::int64_t cols, const std::vector<int>& gates, int partials) {
    SparseMatrix packed;
    for (std::int64_t row = 0; row < rows; row += sparse_rows)
        for (const int gate : gates) {
            packed.first_block.push_back(static_cast<std::int32_t>(packed.block_column.size()));
            const std::int64_t first = gate * rows + row, count = std::min<std::int64_t>(sparse_rows, rows - row);
            const std::int64_t span = chain_length * partials;   // columns that `partials` sums take
            std::vector<std::vector<std::int64_t>> columns(static_cast<std::size_t>((cols + span - 1) / span * partials));
            for (std::int64_t col = 0; col < cols; ++col)
                if (!is_zero_block(weight, first, count, cols, col)) columns[static_cast<std::size_t>(col / span * partials + col % partials)].push_back(col);
            std::size_t longest = 0;
            for (const auto& sum : columns) longest = std::max(longest, sum.size());
            for (std::size_t begin = 0; begin < columns.size(); begin += static_cast<std::size_t>(partials))
                for (std::size_t i = 0; i < longest; ++i)
                    for (std::size_t sum = begin; sum < begin + static_cast<std::size_t>(partials); ++sum) {
                        const bool there = i < columns[sum].size();
                        const std::int64_t col = there ? columns[sum][i] : 0;
                        packed.block_column.push_back(static_cast<std::int32_t>(col));
                        for (std::int64_t row = 0; row < sparse_rows; ++row)
                            packed.weights.push_back(there && row < count ? weight[(first + row) * cols + col] : 0.0f);
                    }
        }
    packed.first_block.push_back(static_cast<std::int32_t>(packed.block_column.size()));
    return packed;
}

}  // namespace rtrnn
