// AVX-512 F, BW, DQ and VL: native vectors of 8 and of 16 lanes.
#include "../kernels.hpp"

#include <immintrin.h>

// GCC's own header gives its intrinsics an undefined operand on purpose and then warns of it.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace rtrnn {
namespace {

#include "avx512.inl"

[[gnu::always_inline]] inline Vec8Sums add_products(Vec8Sums sum, Vec8Pairs w, Vec8Pairs x) {
    return {_mm256_add_epi32(sum.v, _mm256_madd_epi16(w.v, x.v))};
}
[[gnu::always_inline]] inline Vec16Sums add_products(Vec16Sums sum, Vec16Pairs w, Vec16Pairs x) {
    return {_mm512_add_epi32(sum.v, _mm512_madd_epi16(w.v, x.v))};
}

constexpr const char* isa_name = "avx512";

// Measured. 256-bit vectors have the shorter latency where one tile of 8 is all there is; from 32 rows on
// two 512-bit vectors per gate save broadcasts, unless half of the last tile were empty. The lstm has enough
// gates to do without, unless weights of 16 or 8 bits leave time for little else.
inline std::int32_t tile_width(Cell cell, Precision precision, std::int32_t rows, std::int32_t cols) noexcept {
    if (rows <= 8) return 8;
    if ((rows - 1) % 32 < 16 || (cell == Cell::lstm && precision <= Precision::f16)) return 16;
    // A GRU whose f32 weights come from L2 is 2 to 5 % faster in narrow tiles.
    const bool past_l1 = std::int64_t{12} * rows * cols > 32 * 1024;
    return cell == Cell::gru && precision == Precision::f32 && past_l1 ? 16 : 32;
}

#include "../table.inl"

}  // namespace

const KernelTable* kernel_table_avx512() noexcept { return &table; }

}  // namespace rtrnn
