// The vectors of AVX-512 F, BW, DQ and VL, of 8 and of 16 lanes. Included by the units whose flags have these, inside their
// anonymous namespaces; they define add_products.

struct Mask8 {
    __mmask8 m;
};
[[gnu::always_inline]] inline __mmask8 first_lanes_8(int n) { return static_cast<__mmask8>((1u << n) - 1u); }

#include "vec8.inl"

inline Vec8 Vec8::load_partial(const float* p, int n) { return {_mm256_maskz_loadu_ps(first_lanes_8(n), p)}; }
[[gnu::always_inline]] inline void store_partial(float* p, int n, Vec8 a) { _mm256_mask_storeu_ps(p, first_lanes_8(n), a.v); }

[[gnu::always_inline]] inline Mask8 operator<(Vec8 a, Vec8 b) { return {_mm256_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
[[gnu::always_inline]] inline Mask8 operator<=(Vec8 a, Vec8 b) { return {_mm256_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
[[gnu::always_inline]] inline Mask8 operator==(Vec8 a, Vec8 b) { return {_mm256_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
[[maybe_unused, gnu::always_inline]] inline Mask8 operator&(Mask8 a, Mask8 b) { return {static_cast<__mmask8>(a.m & b.m)}; }
[[maybe_unused, gnu::always_inline]] inline Mask8 operator|(Mask8 a, Mask8 b) { return {static_cast<__mmask8>(a.m | b.m)}; }
[[maybe_unused, gnu::always_inline]] inline bool all(Mask8 a) { return a.m == 0xff; }
[[gnu::always_inline]] inline Vec8 select(Mask8 mask, Vec8 a, Vec8 b) { return {_mm256_mask_blend_ps(mask.m, b.v, a.v)}; }

[[gnu::always_inline]] inline void store_low_halves(std::int16_t* p, Vec8 a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtepi32_epi16(_mm256_castps_si256(a.v)));
}

struct Mask16 {
    __mmask16 m;
};
[[gnu::always_inline]] inline __mmask16 first_lanes_16(int n) { return static_cast<__mmask16>((1u << n) - 1u); }

struct Vec16Sums {
    __m512i v;

    [[gnu::always_inline]] static inline Vec16Sums zero() { return {_mm512_setzero_si512()}; }
    [[gnu::always_inline]] static inline Vec16Sums load(const std::int32_t* p) { return {_mm512_loadu_si512(p)}; }
    [[gnu::always_inline]] friend inline Vec16Sums operator+(Vec16Sums a, Vec16Sums b) { return {_mm512_add_epi32(a.v, b.v)}; }
};
struct Vec16Pairs {
    __m512i v;
};

struct Vec16 {
    __m512 v;

    using Mask = Mask16;
    using Int = Vec16Sums;
    static constexpr int lanes = 16;

    [[gnu::always_inline]] static inline Vec16 splat(float x) { return {_mm512_set1_ps(x)}; }
    [[gnu::always_inline]] static inline Vec16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
    [[gnu::always_inline]] static inline Vec16 load_partial(const float* p, int n) {
        return {_mm512_maskz_loadu_ps(first_lanes_16(n), p)};
    }
    [[gnu::always_inline]] static inline Vec16 load_half(const std::uint16_t* p) {
        return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
    }
    [[gnu::always_inline]] static inline Vec16 load_brain_float(const std::uint16_t* p) {
        // each into the upper half of its lane, zeros below
        const __m512i places = _mm512_slli_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), 16);
        const __m512i values = _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
        return {_mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(0xaaaaaaaau, places, values))};
    }
    [[gnu::always_inline]] static inline Vec16Pairs load_pairs(const std::int16_t* p) {
        return {_mm512_loadu_si512(p)};
    }
    [[gnu::always_inline]] static inline Vec16Pairs load_pairs(const std::int8_t* p) {
        return {_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
    }
    [[gnu::always_inline]] static inline Vec16Pairs splat_pair(const std::int16_t* p) {
        std::int32_t pair;
        __builtin_memcpy(&pair, p, sizeof pair);
        return {_mm512_set1_epi32(pair)};
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
[[maybe_unused, gnu::always_inline]] inline bool all(Mask16 a) { return a.m == 0xffff; }
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

[[gnu::always_inline]] inline Vec16 max_bits(Vec16 a, Vec16 b) {
    return {_mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(a.v), _mm512_castps_si512(b.v)))};
}
[[gnu::always_inline]] inline float largest_bits(Vec16 a) {
    const __m512i lanes = _mm512_castps_si512(a.v);
    const __m256i half = _mm256_max_epi32(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64(lanes, 1));
    return largest_bits(Vec8{_mm256_castsi256_ps(half)});
}
[[gnu::always_inline]] inline void store_low_halves(std::int16_t* p, Vec16 a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_castps_si512(a.v)));
}
[[gnu::always_inline]] inline Vec16 to_float(Vec16Sums a) { return {_mm512_cvtepi32_ps(a.v)}; }

#include "../vector.inl"

using Native = Vec16;   // elementwise kernels
using Width8 = Vec8;
using Width16 = Vec16;
using Width32 = Pair<Vec16>;
using HalfWidth16 = Pair<Vec8>;   // AVX-512 converts f16 faster in halves

constexpr int register_lanes = 32 * 16;   // all floats the vector registers hold
