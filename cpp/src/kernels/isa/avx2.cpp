// AVX2 and FMA: one native vector of 8 lanes.
#include "../kernels.hpp"

#include <immintrin.h>

namespace rtrnn {
namespace {

struct Mask8 {
    __m256 m;
};
// Eight all-ones words, then eight zero words: a mask of n lanes starts at 8 - n.
alignas(64) constexpr std::int32_t lane_masks[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

[[gnu::always_inline]] inline __m256i first_lanes(int n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lane_masks + 8 - n));
}

#include "vec8.inl"

inline Vec8 Vec8::load_partial(const float* p, int n) { return {_mm256_maskload_ps(p, first_lanes(n))}; }
[[gnu::always_inline]] inline void store_partial(float* p, int n, Vec8 a) { _mm256_maskstore_ps(p, first_lanes(n), a.v); }

[[gnu::always_inline]] inline Mask8 operator<(Vec8 a, Vec8 b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
[[gnu::always_inline]] inline Mask8 operator<=(Vec8 a, Vec8 b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)}; }
[[gnu::always_inline]] inline Mask8 operator==(Vec8 a, Vec8 b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)}; }
[[gnu::always_inline]] inline Mask8 operator&(Mask8 a, Mask8 b) { return {_mm256_and_ps(a.m, b.m)}; }
[[gnu::always_inline]] inline Mask8 operator|(Mask8 a, Mask8 b) { return {_mm256_or_ps(a.m, b.m)}; }
[[gnu::always_inline]] inline bool all(Mask8 a) { return _mm256_movemask_ps(a.m) == 0xff; }
[[gnu::always_inline]] inline Vec8 select(Mask8 mask, Vec8 a, Vec8 b) { return {_mm256_blendv_ps(b.v, a.v, mask.m)}; }

[[gnu::always_inline]] inline void store_low_halves(std::int16_t* p, Vec8 a) {
    const __m256i halves = _mm256_srai_epi32(_mm256_slli_epi32(_mm256_castps_si256(a.v), 16), 16);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(halves, halves), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
}
[[gnu::always_inline]] inline Vec8Sums add_products(Vec8Sums sum, Vec8Pairs w, Vec8Pairs x) {
    return {_mm256_add_epi32(sum.v, _mm256_madd_epi16(w.v, x.v))};
}

#include "../vector.inl"

using Native = Vec8;   // elementwise kernels
using Width8 = Vec8;
using Width16 = Pair<Vec8>;
using Width32 = Pair<Pair<Vec8>>;
using HalfWidth16 = Width16;

constexpr int register_lanes = 16 * 8;   // all floats the vector registers hold
constexpr const char* isa_name = "avx2";

// Measured. 16 rows fill the latency of the multiply-adds; the sums of an lstm would not fit the registers,
// and a gru gains less from the second vector than an extra half-empty tile costs. Sums of integers need one register per
// vector and gate, so that an lstm's fit.
inline std::int32_t tile_width(Cell cell, Precision precision, std::int32_t rows, std::int32_t) noexcept {
    const bool half_empty = (rows - 1) % 16 < 8;
    if (precision >= Precision::i16) return rows <= 8 || half_empty ? 8 : 16;
    if (rows <= 8 || cell == Cell::lstm) return 8;
    return cell == Cell::gru && half_empty ? 8 : 16;
}

#include "../table.inl"

}  // namespace

const KernelTable* kernel_table_avx2() noexcept { return &table; }

}  // namespace rtrnn
