// What a 256-bit vector does alike under AVX2 and AVX-512 VL. Included by both units after their own Vec8, which differ in masks.

[[gnu::always_inline]] inline void store(float* p, Vec8 a) { _mm256_storeu_ps(p, a.v); }
[[gnu::always_inline]] inline Vec8 operator+(Vec8 a, Vec8 b) { return {_mm256_add_ps(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec8 operator-(Vec8 a, Vec8 b) { return {_mm256_sub_ps(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec8 operator*(Vec8 a, Vec8 b) { return {_mm256_mul_ps(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec8 operator/(Vec8 a, Vec8 b) { return {_mm256_div_ps(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec8 fma(Vec8 a, Vec8 b, Vec8 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
[[gnu::always_inline]] inline Vec8 sqrt(Vec8 a) { return {_mm256_sqrt_ps(a.v)}; }
[[gnu::always_inline]] inline Vec8 min(Vec8 a, Vec8 b) { return {_mm256_min_ps(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec8 max(Vec8 a, Vec8 b) { return {_mm256_max_ps(a.v, b.v)}; }

[[gnu::always_inline]] inline Vec8 bit_and(Vec8 a, Vec8 b) { return {_mm256_and_ps(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec8 bit_or(Vec8 a, Vec8 b) { return {_mm256_or_ps(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec8 bit_xor(Vec8 a, Vec8 b) { return {_mm256_xor_ps(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec8 add_bits(Vec8 a, Vec8 b) {
    return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.v), _mm256_castps_si256(b.v)))};
}
[[gnu::always_inline]] inline Vec8 sub_bits(Vec8 a, Vec8 b) {
    return {_mm256_castsi256_ps(_mm256_sub_epi32(_mm256_castps_si256(a.v), _mm256_castps_si256(b.v)))};
}
template <int n>
[[gnu::always_inline]] inline Vec8 shift_left(Vec8 a) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a.v), n))};
}
template <int n>
[[gnu::always_inline]] inline Vec8 shift_right(Vec8 a) {
    return {_mm256_castsi256_ps(_mm256_srli_epi32(_mm256_castps_si256(a.v), n))};
}
