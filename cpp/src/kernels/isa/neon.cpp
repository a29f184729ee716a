// NEON (AArch64): one native vector of 4 lanes.
#include "../kernels.hpp"

#include <arm_neon.h>

namespace rtrnn {
namespace {

struct Mask4 {
    uint32x4_t m;
};

struct Vec4Sums {
    int32x4_t v;

    [[gnu::always_inline]] static inline Vec4Sums zero() { return {vdupq_n_s32(0)}; }
    [[gnu::always_inline]] friend inline Vec4Sums operator+(Vec4Sums a, Vec4Sums b) { return {vaddq_s32(a.v, b.v)}; }
};
// The first of each pair, then the second.
struct Vec4Pairs {
    int16x4_t first, second;
};

struct Vec4 {
    float32x4_t v;

    using Mask = Mask4;
    using Int = Vec4Sums;
    static constexpr int lanes = 4;

    [[gnu::always_inline]] static inline Vec4 splat(float x) { return {vdupq_n_f32(x)}; }
    [[gnu::always_inline]] static inline Vec4 load(const float* p) { return {vld1q_f32(p)}; }
    [[gnu::always_inline]] static inline Vec4 load_partial(const float* p, int n) {
        float lanes4[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        for (int i = 0; i < n && i < 4; ++i) lanes4[i] = p[i];
        return {vld1q_f32(lanes4)};
    }
    [[gnu::always_inline]] static inline Vec4 load_half(const std::uint16_t* p) {
        return {vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)))};
    }
    [[gnu::always_inline]] static inline Vec4 load_brain_float(const std::uint16_t* p) {
        return {vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16))};
    }
    [[gnu::always_inline]] static inline Vec4Pairs load_pairs(const std::int16_t* p) {
        const int16x4x2_t pairs = vld2_s16(p);
        return {pairs.val[0], pairs.val[1]};
    }
    [[gnu::always_inline]] static inline Vec4Pairs load_pairs(const std::int8_t* p) {
        const int16x8_t wide = vmovl_s8(vld1_s8(p));
        return {vuzp1_s16(vget_low_s16(wide), vget_high_s16(wide)), vuzp2_s16(vget_low_s16(wide), vget_high_s16(wide))};
    }
    [[gnu::always_inline]] static inline Vec4Pairs splat_pair(const std::int16_t* p) { return {vld1_dup_s16(p), vld1_dup_s16(p + 1)}; }
};

[[gnu::always_inline]] inline void store(float* p, Vec4 a) { vst1q_f32(p, a.v); }
[[gnu::always_inline]] inline void store_partial(float* p, int n, Vec4 a) {
    float lanes4[4];
    vst1q_f32(lanes4, a.v);
    for (int i = 0; i < n && i < 4; ++i) p[i] = lanes4[i];
}
[[gnu::always_inline]] inline Vec4 operator+(Vec4 a, Vec4 b) { return {vaddq_f32(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec4 operator-(Vec4 a, Vec4 b) { return {vsubq_f32(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec4 operator*(Vec4 a, Vec4 b) { return {vmulq_f32(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec4 operator/(Vec4 a, Vec4 b) { return {vdivq_f32(a.v, b.v)}; }
[[gnu::always_inline]] inline Vec4 fma(Vec4 a, Vec4 b, Vec4 c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
[[gnu::always_inline]] inline Vec4 sqrt(Vec4 a) { return {vsqrtq_f32(a.v)}; }
// vminq and vmaxq treat NaN and signed zeros otherwise than the definition.
[[gnu::always_inline]] inline Vec4 min(Vec4 a, Vec4 b) { return {vbslq_f32(vcltq_f32(a.v, b.v), a.v, b.v)}; }
[[gnu::always_inline]] inline Vec4 max(Vec4 a, Vec4 b) { return {vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v)}; }

[[gnu::always_inline]] inline Mask4 operator<(Vec4 a, Vec4 b) { return {vcltq_f32(a.v, b.v)}; }
[[gnu::always_inline]] inline Mask4 operator<=(Vec4 a, Vec4 b) { return {vcleq_f32(a.v, b.v)}; }
[[gnu::always_inline]] inline Mask4 operator==(Vec4 a, Vec4 b) { return {vceqq_f32(a.v, b.v)}; }
[[gnu::always_inline]] inline Mask4 operator&(Mask4 a, Mask4 b) { return {vandq_u32(a.m, b.m)}; }
[[gnu::always_inline]] inline Mask4 operator|(Mask4 a, Mask4 b) { return {vorrq_u32(a.m, b.m)}; }
[[gnu::always_inline]] inline bool all(Mask4 a) { return vminvq_u32(a.m) != 0; }
[[gnu::always_inline]] inline Vec4 select(Mask4 mask, Vec4 a, Vec4 b) { return {vbslq_f32(mask.m, a.v, b.v)}; }

[[gnu::always_inline]] inline uint32x4_t bits(Vec4 a) { return vreinterpretq_u32_f32(a.v); }
[[gnu::always_inline]] inline Vec4 from_bits(uint32x4_t a) { return {vreinterpretq_f32_u32(a)}; }
[[gnu::always_inline]] inline Vec4 bit_and(Vec4 a, Vec4 b) { return from_bits(vandq_u32(bits(a), bits(b))); }
[[gnu::always_inline]] inline Vec4 bit_or(Vec4 a, Vec4 b) { return from_bits(vorrq_u32(bits(a), bits(b))); }
[[gnu::always_inline]] inline Vec4 bit_xor(Vec4 a, Vec4 b) { return from_bits(veorq_u32(bits(a), bits(b))); }
[[gnu::always_inline]] inline Vec4 add_bits(Vec4 a, Vec4 b) { return from_bits(vaddq_u32(bits(a), bits(b))); }
[[gnu::always_inline]] inline Vec4 sub_bits(Vec4 a, Vec4 b) { return from_bits(vsubq_u32(bits(a), bits(b))); }
template <int n>
[[gnu::always_inline]] inline Vec4 shift_left(Vec4 a) { return from_bits(vshlq_n_u32(bits(a), n)); }
template <int n>
[[gnu::always_inline]] inline Vec4 shift_right(Vec4 a) { return from_bits(vshrq_n_u32(bits(a), n)); }


[[gnu::always_inline]] inline Vec4 max_bits(Vec4 a, Vec4 b) {
    return {vreinterpretq_f32_s32(vmaxq_s32(vreinterpretq_s32_f32(a.v), vreinterpretq_s32_f32(b.v)))};
}
[[gnu::always_inline]] inline float largest_bits(Vec4 a) {
    const std::int32_t bits = vmaxvq_s32(vreinterpretq_s32_f32(a.v));
    float x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}
[[gnu::always_inline]] inline void store_low_halves(std::int16_t* p, Vec4 a) { vst1_s16(p, vmovn_s32(vreinterpretq_s32_f32(a.v))); }
[[gnu::always_inline]] inline Vec4Sums add_products(Vec4Sums sum, Vec4Pairs w, Vec4Pairs x) {
    return {vmlal_s16(vmlal_s16(sum.v, w.first, x.first), w.second, x.second)};
}
[[gnu::always_inline]] inline Vec4 to_float(Vec4Sums a) { return {vcvtq_f32_s32(a.v)}; }

#include "../vector.inl"

using Native = Pair<Vec4>;   // elementwise kernels
using Width8 = Pair<Vec4>;
using Width16 = Pair<Width8>;
using Width32 = Pair<Width16>;
using HalfWidth16 = Width16;

constexpr int register_lanes = 32 * 4;   // all floats the vector registers hold
constexpr const char* isa_name = "neon";

// Not measured: chosen by the number of sums that 32 registers hold.
inline std::int32_t tile_width(Cell cell, Precision, std::int32_t rows, std::int32_t) noexcept {
    const bool few_sums = cell == Cell::linear || cell == Cell::rnn;
    return few_sums && rows > 8 ? 16 : 8;
}

#include "../table.inl"

}  // namespace

const KernelTable* kernel_table_neon() noexcept { return &table; }

}  // namespace rtrnn
