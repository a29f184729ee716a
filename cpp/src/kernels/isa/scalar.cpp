// Plain C++. The reference the other ISAs are compared with, and the fallback on any CPU.
#include "../kernels.hpp"


namespace rtrnn {
namespace {

// Lanes in an array and one short loop per operation: small code, which the compiler may vectorise or not,
// since no operation joins lanes.
template <int n>
struct MaskOf {
    bool m[n];
};

// Sums modulo 2^32.
template <int n>
struct LaneSums {
    std::uint32_t v[n];

    static inline LaneSums zero() { return {}; }
    friend inline LaneSums operator+(const LaneSums& a, const LaneSums& b) {
        LaneSums y;
        for (int i = 0; i < n; ++i) y.v[i] = a.v[i] + b.v[i];
        return y;
    }
};
template <int n>
struct LanePairs {
    std::int32_t first[n], second[n];
};

inline float float_of(std::uint32_t bits) {
    float x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return x;
}

// A value of f16, widened exactly: its exponent and fraction in an f32's place are 2^112 times too small.
inline float widen_half(std::uint16_t half) {
    const std::uint32_t sign = (half & 0x8000u) << 16, magnitude = (half & 0x7fffu) << 13;
    const float scaled = float_of(magnitude) * 0x1p112f;
    std::uint32_t bits;
    __builtin_memcpy(&bits, &scaled, sizeof bits);
    return float_of(bits | sign);
}

template <int n>
struct Lanes {
    float v[n];

    using Mask = MaskOf<n>;
    using Int = LaneSums<n>;
    static constexpr int lanes = n;

    static inline Lanes splat(float x) {
        Lanes a;
        for (float& lane : a.v) lane = x;
        return a;
    }
    static inline Lanes load(const float* p) {
        Lanes a;
        for (int i = 0; i < n; ++i) a.v[i] = p[i];
        return a;
    }
    static inline Lanes load_partial(const float* p, int count) {
        Lanes a = splat(0.0f);
        for (int i = 0; i < count; ++i) a.v[i] = p[i];
        return a;
    }
    static inline Lanes load_half(const std::uint16_t* p) {
        Lanes a;
        for (int i = 0; i < n; ++i) a.v[i] = widen_half(p[i]);
        return a;
    }
    static inline Lanes load_brain_float(const std::uint16_t* p) {
        Lanes a;
        for (int i = 0; i < n; ++i) a.v[i] = float_of(static_cast<std::uint32_t>(p[i]) << 16);
        return a;
    }
    template <class W>
    static inline LanePairs<n> load_pairs(const W* p) {
        LanePairs<n> a;
        for (int i = 0; i < n; ++i) {
            a.first[i] = p[2 * i];
            a.second[i] = p[2 * i + 1];
        }
        return a;
    }
    static inline LanePairs<n> splat_pair(const std::int16_t* p) {
        LanePairs<n> a;
        for (int i = 0; i < n; ++i) {
            a.first[i] = p[0];
            a.second[i] = p[1];
        }
        return a;
    }
};

template <int n>
inline LaneSums<n> add_products(const LaneSums<n>& sum, const LanePairs<n>& w, const LanePairs<n>& x) {
    LaneSums<n> y;
    for (int i = 0; i < n; ++i) {
        y.v[i] = sum.v[i] + static_cast<std::uint32_t>(w.first[i] * x.first[i]) + static_cast<std::uint32_t>(w.second[i] * x.second[i]);
    }
    return y;
}
template <int n>
inline Lanes<n> to_float(const LaneSums<n>& a) {
    Lanes<n> y;
    for (int i = 0; i < n; ++i) y.v[i] = static_cast<float>(static_cast<std::int32_t>(a.v[i]));
    return y;
}

template <class F, int n>
inline Lanes<n> each_lane(const Lanes<n>& a, const Lanes<n>& b, const F& f) {
    Lanes<n> y;
    for (int i = 0; i < n; ++i) y.v[i] = f(a.v[i], b.v[i]);
    return y;
}
template <class F, int n>
inline MaskOf<n> each_mask(const Lanes<n>& a, const Lanes<n>& b, const F& f) {
    MaskOf<n> y;
    for (int i = 0; i < n; ++i) y.m[i] = f(a.v[i], b.v[i]);
    return y;
}
template <class F, int n>
inline Lanes<n> each_bits(const Lanes<n>& a, const Lanes<n>& b, const F& f) {
    return each_lane(a, b, [&](float x, float y) {
        std::uint32_t x_bits, y_bits;
        __builtin_memcpy(&x_bits, &x, sizeof x);
        __builtin_memcpy(&y_bits, &y, sizeof y);
        const std::uint32_t z_bits = f(x_bits, y_bits);
        float z;
        __builtin_memcpy(&z, &z_bits, sizeof z);
        return z;
    });
}

template <int n>
inline void store(float* p, const Lanes<n>& a) {
    for (int i = 0; i < n; ++i) p[i] = a.v[i];
}
template <int n>
inline void store_partial(float* p, int count, const Lanes<n>& a) {
    for (int i = 0; i < count; ++i) p[i] = a.v[i];
}
template <int n>
inline Lanes<n> operator+(const Lanes<n>& a, const Lanes<n>& b) {
    return each_lane(a, b, [](float x, float y) { return x + y; });
}
template <int n>
inline Lanes<n> operator-(const Lanes<n>& a, const Lanes<n>& b) {
    return each_lane(a, b, [](float x, float y) { return x - y; });
}
template <int n>
inline Lanes<n> operator*(const Lanes<n>& a, const Lanes<n>& b) {
    return each_lane(a, b, [](float x, float y) { return x * y; });
}
template <int n>
inline Lanes<n> operator/(const Lanes<n>& a, const Lanes<n>& b) {
    return each_lane(a, b, [](float x, float y) { return x / y; });
}
// The C function rounds once on every machine, with or without an FMA instruction.
template <int n>
inline Lanes<n> fma(const Lanes<n>& a, const Lanes<n>& b, const Lanes<n>& c) {
    Lanes<n> y;
    for (int i = 0; i < n; ++i) y.v[i] = __builtin_fmaf(a.v[i], b.v[i], c.v[i]);
    return y;
}
template <int n>
inline Lanes<n> sqrt(const Lanes<n>& a) {
    return each_lane(a, a, [](float x, float) { return __builtin_sqrtf(x); });
}
template <int n>
inline Lanes<n> min(const Lanes<n>& a, const Lanes<n>& b) {
    return each_lane(a, b, [](float x, float y) { return x < y ? x : y; });
}
template <int n>
inline Lanes<n> max(const Lanes<n>& a, const Lanes<n>& b) {
    return each_lane(a, b, [](float x, float y) { return x > y ? x : y; });
}
template <int n>
inline MaskOf<n> operator<(const Lanes<n>& a, const Lanes<n>& b) {
    return each_mask(a, b, [](float x, float y) { return x < y; });
}
template <int n>
inline MaskOf<n> operator<=(const Lanes<n>& a, const Lanes<n>& b) {
    return each_mask(a, b, [](float x, float y) { return x <= y; });
}
template <int n>
inline MaskOf<n> operator==(const Lanes<n>& a, const Lanes<n>& b) {
    return each_mask(a, b, [](float x, float y) { return x == y; });
}
template <int n>
inline MaskOf<n> operator&(const MaskOf<n>& a, const MaskOf<n>& b) {
    MaskOf<n> y;
    for (int i = 0; i < n; ++i) y.m[i] = a.m[i] && b.m[i];
    return y;
}
template <int n>
inline MaskOf<n> operator|(const MaskOf<n>& a, const MaskOf<n>& b) {
    MaskOf<n> y;
    for (int i = 0; i < n; ++i) y.m[i] = a.m[i] || b.m[i];
    return y;
}
template <int n>
inline bool all(const MaskOf<n>& a) {
    bool y = true;
    for (int i = 0; i < n; ++i) y = y && a.m[i];
    return y;
}
template <int n>
inline Lanes<n> select(const MaskOf<n>& mask, const Lanes<n>& a, const Lanes<n>& b) {
    Lanes<n> y;
    for (int i = 0; i < n; ++i) y.v[i] = mask.m[i] ? a.v[i] : b.v[i];
    return y;
}
template <int n>
inline Lanes<n> bit_and(const Lanes<n>& a, const Lanes<n>& b) {
    return each_bits(a, b, [](std::uint32_t x, std::uint32_t y) { return x & y; });
}
template <int n>
inline Lanes<n> bit_or(const Lanes<n>& a, const Lanes<n>& b) {
    return each_bits(a, b, [](std::uint32_t x, std::uint32_t y) { return x | y; });
}
template <int n>
inline Lanes<n> bit_xor(const Lanes<n>& a, const Lanes<n>& b) {
    return each_bits(a, b, [](std::uint32_t x, std::uint32_t y) { return x ^ y; });
}
template <int n>
inline Lanes<n> add_bits(const Lanes<n>& a, const Lanes<n>& b) {
    return each_bits(a, b, [](std::uint32_t x, std::uint32_t y) { return x + y; });
}
template <int n>
inline Lanes<n> sub_bits(const Lanes<n>& a, const Lanes<n>& b) {
    return each_bits(a, b, [](std::uint32_t x, std::uint32_t y) { return x - y; });
}
template <int n>
inline Lanes<n> max_bits(const Lanes<n>& a, const Lanes<n>& b) {
    return each_bits(a, b, [](std::uint32_t x, std::uint32_t y) { return static_cast<std::int32_t>(x) > static_cast<std::int32_t>(y) ? x : y; });
}
template <int n>
inline float largest_bits(const Lanes<n>& a) {
    Lanes<1> largest{{a.v[0]}};
    for (int i = 1; i < n; ++i) largest = max_bits(largest, Lanes<1>{{a.v[i]}});
    return largest.v[0];
}
template <int n>
inline void store_low_halves(std::int16_t* p, const Lanes<n>& a) {
    for (int i = 0; i < n; ++i) __builtin_memcpy(p + i, &a.v[i], sizeof *p);   // little-endian
}
template <int count, int n>
inline Lanes<n> shift_left(const Lanes<n>& a) {
    return each_bits(a, a, [](std::uint32_t x, std::uint32_t) { return x << count; });
}
template <int count, int n>
inline Lanes<n> shift_right(const Lanes<n>& a) {
    return each_bits(a, a, [](std::uint32_t x, std::uint32_t) { return x >> count; });
}

#include "../vector.inl"

using Native = Lanes<8>;   // elementwise kernels
using Width8 = Lanes<8>;
using Width16 = Lanes<16>;
using Width32 = Lanes<32>;
using HalfWidth16 = Width16;

constexpr int register_lanes = 1 << 20;   // all floats the vector registers hold; here there is nothing to fit into
constexpr const char* isa_name = "scalar";

// There is nothing to gain from wide tiles.
inline std::int32_t tile_width(Cell, Precision, std::int32_t, std::int32_t) noexcept {
    return 8;
}

#include "../table.inl"

}  // namespace

const KernelTable* kernel_table_scalar() noexcept { return &table; }

}  // namespace rtrnn
