// What a 256-bit vector does alike under AVX2 and AVX-512 VL. Included by both units after their own Mask8; they define
// Vec8::load_partial and what else needs masks.

struct Vec8Sums {
    __m256i v;

    [[gnu::always_inline]] static inline Vec8Sums zero() { return {_mm256_setzero_si256()}; }
    [[gnu::always_inline]] static inline Vec8Sums load(const std::int32_t* p) {
        return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
    }
    [[gnu::always_inline]] friend inline Vec8Sums operator+(Vec8Sums a, Vec8Sums b) { return {_mm256_add_epi32(a.v, b.v)}; }
};
struct Vec8Pairs {
    __m256i v;
};

struct Vec8 {
    __m256 v;

    using Mask = Mask8;
    using Int = Vec8Sums;
    static constexpr int lanes = 8;

    [[gnu::always_inline]] static inline Vec8 splat(float x) { return {_mm256_set1_ps(x)}; }
    [[gnu::always_inline]] static inline Vec8 load(const float* p) { return {_mm256_loadu_ps(p)}; }
    [[gnu::always_inline]] static inline Vec8 load_partial(const float* p, int n);
    [[gnu::always_inline]] static inline Vec8 load_half(const std::uint16_t* p) {
        return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
    }
    [[gnu::always_inline]] static inline Vec8 load_brain_float(const std::uint16_t* p) {
        const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
        return {_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))};
    }
    [[gnu::always_inline]] static inline Vec8Pairs load_pairs(const std::int16_t* p) {
        return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
    }
    [[gnu::always_inline]] static inline Vec8Pairs load_pairs(const std::int8_t* p) {
        return {_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
    }
    [[gnu::always_inline]] static inline Vec8Pairs splat_pair(const std::int16_t* p) {
        std::int32_t pair;
        __builtin_memcpy(&pair, p, sizeof pair);
        return {_mm256_set1_epi32(pair)};
    }
};

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

[[gnu::always_inline]] inline Vec8 max_bits(Vec8 a, Vec8 b) {
    return {_mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a.v), _mm256_castps_si256(b.v)))};
}
[[gnu::always_inline]] inline float largest_bits(Vec8 a) {
    const __m256i lanes = _mm256_castps_si256(a.v);
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(m));
}
[[gnu::always_inline]] inline Vec8 to_float(Vec8Sums a) { return {_mm256_cvtepi32_ps(a.v)}; }
