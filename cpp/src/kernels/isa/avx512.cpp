// AVX-512 F, BW, DQ and VL: native vectors of 8 and of 16 lanes.
#include "../kernels.hpp"

#include <immintrin.h>

// GCC's own header gives its intrinsics an undefined operand on purpose and then warns of it.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace rtrnn {
namespace {

struct Mask8 {
    __mmask8 m;
};
[[gnu::always_inline]] inline __mmask8 first_lanes_8(int n) { return static_cast<__mmask8>((1u << n) - 1u); }

struct Vec8 {
    __m256 v;

    using Mask = Mask8;
    static constexpr int lanes = 8;

    [[gnu::always_inline]] static inline Vec8 splat(float x) { return {_mm256_set1_ps(x)}; }
    [[gnu::always_inline]] static inline Vec8 load(const float* p) { return {_mm256_loadu_ps(p)}; }
    [[gnu::always_inline]] static inline Vec8 load_partial(const float* p, int n) {
        return {_mm256_maskz_loadu_ps(first_lanes_8(n), p)};
    }
};

#include "vec8.inl"

[[gnu::always_inline]] inline void store_partial(float* p, int n, Vec8 a) { _mm256_mask_storeu_ps(p, first_lanes_8(n), a.v); }

[[gnu::always_inline]] inline Mask8 operator<(Vec8 a, Vec8 b) { return {_mm256_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
[[gnu::always_inline]] inline Mask8 operator<=(Vec8 a, Vec8 b) { return {_mm256_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
[[gnu::always_inline]] inline Mask8 operator==(Vec8 a, Vec8 b) { return {_mm256_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
[[maybe_unused, gnu::always_inline]] inline Mask8 operator&(Mask8 a, Mask8 b) { return {static_cast<__mmask8>(a.m & b.m)}; }
[[maybe_unused, gnu::always_inline]] inline Mask8 operator|(Mask8 a, Mask8 b) { return {static_cast<__mmask8>(a.m | b.m)}; }
[[gnu::always_inline]] inline Vec8 select(Mask8 mask, Vec8 a, Vec8 b) { return {_mm256_mask_blend_ps(mask.m, b.v, a.v)}; }

struct Mask16 {
    __mmask16 m;
};
[[gnu::always_inline]] inline __mmask16 first_lanes_16(int n) { return static_cast<__mmask16>((1u << n) - 1u); }

struct Vec16 {
    __m512 v;

    using Mask = Mask16;
    static constexpr int lanes = 16;

    [[gnu::always_inline]] static inline Vec16 splat(float x) { return {_mm512_set1_ps(x)}; }
    [[gnu::always_inline]] static inline Vec16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
    [[gnu::always_inline]] static inline Vec16 load_partial(const float* p, int n) {
        return {_mm512_maskz_loadu_ps(first_lanes_16(n), p)};
    }
};

[[gnu::always_inline]] inline void store(float* p, Vec16 a) { _mm512_storeu_ps(p, a.v); }
[[gnu::always_inline]] inline void store_partial(float* p, int n, Vec16 a) { _mm512_mask_storeu_ps(p, first_lanes_16(n), a.v); }
[[gnu::always_inline]] inline Vec16 operator+(Vec16 a, Vec16 b) { return {_mm512_add_ps(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec16 operator-(Vec16 a, Vec16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec16 operator*(Vec16 a, Vec16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec16 operator/(Vec16 a, Vec16 b) { return {_mm512_div_ps(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec16 fma(Vec16 a, Vec16 b, Vec16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
[[gnu::always_inline]] inline Vec16 sqrt(Vec16 a) { return {_mm512_sqrt_ps(a.v)}; }
[[gnu::always_inline]] inline Vec16 min(Vec16 a, Vec16 b) { return {_mm512_min_ps(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec16 max(Vec16 a, Vec16 b) { return {_mm512_max_ps(a.v, b.v)}; }

[[gnu::always_inline]] inline Mask16 operator<(Vec16 a, Vec16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
[[gnu::always_inline]] inline Mask16 operator<=(Vec16 a, Vec16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
[[gnu::always_inline]] inline Mask16 operator==(Vec16 a, Vec16 b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
[[gnu::always_inline]] inline Mask16 operator&(Mask16 a, Mask16 b) { return {static_cast<__mmask16>(a.m & b.m)}; }
[[gnu::always_inline]] inline Mask16 operator|(Mask16 a, Mask16 b) { return {static_cast<__mmask16>(a.m | b.m)}; }
[[gnu::always_inline]] inline Vec16 select(Mask16 mask, Vec16 a, Vec16 b) { return {_mm512_mask_blend_ps(mask.m, b.v, a.v)}; }

[[gnu::always_inline]] inline Vec16 bit_and(Vec16 a, Vec16 b) { return {_mm512_and_ps(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec16 bit_or(Vec16 a, Vec16 b) { return {_mm512_or_ps(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec16 bit_xor(Vec16 a, Vec16 b) { return {_mm512_xor_ps(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec16 add_bits(Vec16 a, Vec16 b) {
    return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a.v), _mm512_castps_si512(b.v)))};
}
[[gnu::always_inline]] inline Vec16 sub_bits(Vec16 a, Vec16 b) {
    return {_mm512_castsi512_ps(_mm512_sub_epi32(_mm512_castps_si512(a.v), _mm512_castps_si512(b.v)))};
}
template <int n>
[[gnu::always_inline]] inline Vec16 shift_left(Vec16 a) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a.v), n))};
}
template <int n>
[[gnu::always_inline]] inline Vec16 shift_right(Vec16 a) {
    return {_mm512_castsi512_ps(_mm512_srli_epi32(_mm512_castps_si512(a.v), n))};
}

#include "../vector.inl"

using Native = Vec16;   // elementwise kernels
using Width8 = Vec8;
using Width16 = Vec16;
using Width32 = Pair<Vec16>;

constexpr int register_lanes = 32 * 16;   // all floats the vector registers hold
constexpr const char* isa_name = "avx512";

// Measured. 256-bit vectors have the shorter latency where one tile of 8 is all there is; from 32 rows on
// two 512-bit vectors per gate save broadcasts, unless half of the last tile were empty. The lstm has enough
// gates to do without.
inline std::int32_t tile_width(Cell cell, std::int32_t rows, std::int32_t cols) noexcept {
    if (rows <= 8) return 8;
    if (cell == Cell::lstm || (rows - 1) % 32 < 16) return 16;
    // A GRU whose weights come from L2 is 2 to 5 % faster in narrow tiles.
    const bool past_l1 = std::int64_t{12} * rows * cols > 32 * 1024;
    return cell == Cell::gru && past_l1 ? 16 : 32;
}

#include "../table.inl"

}  // namespace

const KernelTable* kernel_table_avx512() noexcept { return &table; }

}  // namespace rtrnn
