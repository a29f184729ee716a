// AVX-512 with VNNI, which adds the products of integers in one instruction. Everything else is avx512's.
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
    return {_mm256_dpwssd_epi32(sum.v, w.v, x.v)};
}
[[gnu::always_inline]] inline Vec16Sums add_products(Vec16Sums sum, Vec16Pairs w, Vec16Pairs x) {
    return {_mm512_dpwssd_epi32(sum.v, w.v, x.v)};
}

#include "../integer_tiles.inl"

constexpr IntegerTiles tiles = {integer_tiles<std::int16_t>(), integer_tiles<std::int8_t>()};

}  // namespace

const IntegerTiles* integer_tiles_avx512vnni() noexcept { return &tiles; }

}  // namespace rtrnn
