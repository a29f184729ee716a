#include "plan/packing.hpp"

#include <algorithm>

namespace rtrnn {

std::vector<float> pack_matrix(const float* weight, std::int64_t rows, std::int64_t cols, std::int64_t width, const std::vector<int>& gates) {
    const std::int64_t tiles = tile_count(rows, width);
    std::vector<float> packed(static_cast<std::size_t>(tiles * cols * width) * gates.size());
    float* out = packed.data();
    for (std::int64_t tile = 0; tile < tiles; ++tile)
        for (std::int64_t col = 0; col < cols; ++col)
            for (const int gate : gates) {
                const std::int64_t count = std::min(width, rows - tile * width);
                for (std::int64_t i = 0; i < count; ++i) out[i] = weight[(gate * rows + tile * width + i) * cols + col];
                out += width;
            }
    return packed;
}

std::vector<float> pack_vector(const float* bias, std::int64_t rows, std::int64_t width, const std::vector<int>& gates) {
    if (bias) return pack_matrix(bias, rows, 1, width, gates);
    return std::vector<float>(static_cast<std::size_t>(tile_count(rows, width) * width) * gates.size());
}

}  // namespace rtrnn
