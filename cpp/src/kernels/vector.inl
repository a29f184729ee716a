// Vectors of more lanes than the ISA has, and what every vector type has in common.
//
// An ISA file defines one or more native types V with
//   V::lanes, V::Mask, V::splat(f), V::load(p), V::load_partial(p, n)  (missing lanes are +0),
//   store(p, v), store_partial(p, n, v), + - * /, fma(a, b, c) = a b + c rounded once, sqrt,
//   min(a, b) = a < b ? a : b and max(a, b) = a > b ? a : b (so a NaN in either gives b),
//   < <= == giving a Mask (false on NaN), & | on Masks, all(mask), select(mask, a, b) = mask ? a : b,
//   on the bits of a lane: bit_and, bit_or, bit_xor, add_bits, sub_bits (modulo 2^32),
//   shift_left<n>, shift_right<n> (logical), max_bits (the greater as signed integers), largest_bits(v) (the lane that is
//   greatest so), store_low_halves(p, v) (the lower 16 bits of each lane),
//   V::load_half(p), V::load_brain_float(p): f16 and bf16, widened exactly,
//   for dot products of 16-bit integers: V::Int, 32-bit sums, with V::Int::zero() and + (and V::Int::load(p) where a unit's
//   own tiles need it); V::load_pairs(p), two weights per lane, of 16 or of 8 bits; V::splat_pair(p), the same two
//   operands in every lane; add_products(sum, pairs, pairs), modulo 2^32; to_float(sum), rounded to nearest even.
// Everything here is written over those, so it means the same on every ISA.
// Included inside the anonymous namespace of an ISA unit.

// Two vectors side by side; nested for more. Plain members, no array: the compiler keeps them in registers.
template <class M>
struct PairMask {
    M lo, hi;
};

template <class W>
struct PairWeights {
    W lo, hi;
};

template <class H>
struct Pair {
    H lo, hi;

    using Mask = PairMask<typename H::Mask>;
    static constexpr int lanes = 2 * H::lanes;

    [[gnu::always_inline]] static inline Pair splat(float x) {
        const H half = H::splat(x);
        return {half, half};
    }
    [[gnu::always_inline]] static inline Pair load(const float* p) { return {H::load(p), H::load(p + H::lanes)}; }
    [[gnu::always_inline]] static inline Pair load_partial(const float* p, int n) {
        if (n <= H::lanes) return {H::load_partial(p, n), H::splat(0.0f)};
        return {H::load(p), H::load_partial(p + H::lanes, n - H::lanes)};
    }
    [[gnu::always_inline]] static inline Pair load_half(const std::uint16_t* p) {
        return {H::load_half(p), H::load_half(p + H::lanes)};
    }
    [[gnu::always_inline]] static inline Pair load_brain_float(const std::uint16_t* p) {
        return {H::load_brain_float(p), H::load_brain_float(p + H::lanes)};
    }

    struct Int {
        typename H::Int lo, hi;

        [[gnu::always_inline]] static inline Int zero() { return {H::Int::zero(), H::Int::zero()}; }
        [[gnu::always_inline]] static inline Int load(const std::int32_t* p) { return {H::Int::load(p), H::Int::load(p + H::lanes)}; }
        [[gnu::always_inline]] friend inline Int operator+(Int a, Int b) { return {a.lo + b.lo, a.hi + b.hi}; }
        [[gnu::always_inline]] friend inline Pair to_float(Int a) { return {to_float(a.lo), to_float(a.hi)}; }
    };
    template <class W>
    [[gnu::always_inline]] static inline auto load_pairs(const W* p) {
        const auto lo = H::load_pairs(p);
        return PairWeights<decltype(H::load_pairs(p))>{lo, H::load_pairs(p + 2 * H::lanes)};
    }
    [[gnu::always_inline]] static inline auto splat_pair(const std::int16_t* p) { return H::splat_pair(p); }
};

template <class Sum, class W, class X>
[[gnu::always_inline]] inline Sum add_products(Sum sum, PairWeights<W> w, X x) {
    return {add_products(sum.lo, w.lo, x), add_products(sum.hi, w.hi, x)};
}

template <class H>
[[gnu::always_inline]] inline void store(float* p, Pair<H> a) {
    store(p, a.lo);
    store(p + H::lanes, a.hi);
}
template <class H>
[[gnu::always_inline]] inline void store_partial(float* p, int n, Pair<H> a) {
    if (n <= H::lanes) {
        store_partial(p, n, a.lo);
    } else {
        store(p, a.lo);
        store_partial(p + H::lanes, n - H::lanes, a.hi);
    }
}
template <class H>
[[gnu::always_inline]] inline Pair<H> operator+(Pair<H> a, Pair<H> b) { return {a.lo + b.lo, a.hi + b.hi}; }
template <class H>
[[gnu::always_inline]] inline Pair<H> operator-(Pair<H> a, Pair<H> b) { return {a.lo - b.lo, a.hi - b.hi}; }
template <class H>
[[gnu::always_inline]] inline Pair<H> operator*(Pair<H> a, Pair<H> b) { return {a.lo * b.lo, a.hi * b.hi}; }
template <class H>
[[gnu::always_inline]] inline Pair<H> operator/(Pair<H> a, Pair<H> b) { return {a.lo / b.lo, a.hi / b.hi}; }
template <class H>
[[gnu::always_inline]] inline Pair<H> fma(Pair<H> a, Pair<H> b, Pair<H> c) {
    return {fma(a.lo, b.lo, c.lo), fma(a.hi, b.hi, c.hi)};
}
template <class H>
[[gnu::always_inline]] inline Pair<H> sqrt(Pair<H> a) { return {sqrt(a.lo), sqrt(a.hi)}; }
template <class H>
[[gnu::always_inline]] inline Pair<H> min(Pair<H> a, Pair<H> b) { return {min(a.lo, b.lo), min(a.hi, b.hi)}; }
template <class H>
[[gnu::always_inline]] inline Pair<H> max(Pair<H> a, Pair<H> b) { return {max(a.lo, b.lo), max(a.hi, b.hi)}; }

template <class H>
[[gnu::always_inline]] inline typename Pair<H>::Mask operator<(Pair<H> a, Pair<H> b) {
    return {a.lo < b.lo, a.hi < b.hi};
}
template <class H>
[[gnu::always_inline]] inline typename Pair<H>::Mask operator<=(Pair<H> a, Pair<H> b) {
    return {a.lo <= b.lo, a.hi <= b.hi};
}
template <class H>
[[gnu::always_inline]] inline typename Pair<H>::Mask operator==(Pair<H> a, Pair<H> b) {
    return {a.lo == b.lo, a.hi == b.hi};
}
template <class M>
[[gnu::always_inline]] inline PairMask<M> operator&(PairMask<M> a, PairMask<M> b) {
    return {a.lo & b.lo, a.hi & b.hi};
}
template <class M>
[[gnu::always_inline]] inline PairMask<M> operator|(PairMask<M> a, PairMask<M> b) {
    return {a.lo | b.lo, a.hi | b.hi};
}
template <class M>
[[gnu::always_inline]] inline bool all(PairMask<M> a) { return all(a.lo & a.hi); }
template <class M, class H>
[[gnu::always_inline]] inline Pair<H> select(PairMask<M> mask, Pair<H> a, Pair<H> b) {
    return {select(mask.lo, a.lo, b.lo), select(mask.hi, a.hi, b.hi)};
}

template <class H>
[[gnu::always_inline]] inline Pair<H> bit_and(Pair<H> a, Pair<H> b) {
    return {bit_and(a.lo, b.lo), bit_and(a.hi, b.hi)};
}
template <class H>
[[gnu::always_inline]] inline Pair<H> bit_or(Pair<H> a, Pair<H> b) {
    return {bit_or(a.lo, b.lo), bit_or(a.hi, b.hi)};
}
template <class H>
[[gnu::always_inline]] inline Pair<H> bit_xor(Pair<H> a, Pair<H> b) {
    return {bit_xor(a.lo, b.lo), bit_xor(a.hi, b.hi)};
}
template <class H>
[[gnu::always_inline]] inline Pair<H> add_bits(Pair<H> a, Pair<H> b) {
    return {add_bits(a.lo, b.lo), add_bits(a.hi, b.hi)};
}
template <class H>
[[gnu::always_inline]] inline Pair<H> sub_bits(Pair<H> a, Pair<H> b) {
    return {sub_bits(a.lo, b.lo), sub_bits(a.hi, b.hi)};
}
template <class H>
[[gnu::always_inline]] inline Pair<H> max_bits(Pair<H> a, Pair<H> b) {
    return {max_bits(a.lo, b.lo), max_bits(a.hi, b.hi)};
}
template <class H>
[[gnu::always_inline]] inline float largest_bits(Pair<H> a) { return largest_bits(max_bits(a.lo, a.hi)); }
template <class H>
[[gnu::always_inline]] inline void store_low_halves(std::int16_t* p, Pair<H> a) {
    store_low_halves(p, a.lo);
    store_low_halves(p + H::lanes, a.hi);
}
template <int n, class H>
[[gnu::always_inline]] inline Pair<H> shift_left(Pair<H> a) {
    return {shift_left<n>(a.lo), shift_left<n>(a.hi)};
}
template <int n, class H>
[[gnu::always_inline]] inline Pair<H> shift_right(Pair<H> a) {
    return {shift_right<n>(a.lo), shift_right<n>(a.hi)};
}

// Calls f(Index<0>{}), f(Index<1>{}), ..: a loop whose counter is a constant in every turn, so that arrays
// of vectors indexed by it stay in registers.
template <int i>
struct Index {
    static constexpr int value = i;
};
template <int n>
struct Repeat {
    template <class F>
    [[gnu::always_inline]] static inline void call(const F& f) {
        Repeat<n - 1>::call(f);
        f(Index<n - 1>{});
    }
};
template <>
struct Repeat<0> {
    template <class F>
    [[gnu::always_inline]] static inline void call(const F&) {}
};

template <class V>
[[gnu::always_inline]] inline V load_up_to(const float* p, int n) {
    return n >= V::lanes ? V::load(p) : V::load_partial(p, n);
}
template <class V>
[[gnu::always_inline]] inline void store_up_to(float* p, int n, V a) {
    if (n >= V::lanes) {
        store(p, a);
    } else {
        store_partial(p, n, a);
    }
}

template <class V>
[[gnu::always_inline]] inline V splat_bits(std::uint32_t bits) {
    float x;
    __builtin_memcpy(&x, &bits, sizeof x);
    return V::splat(x);
}

// NaN when either is; of -0 and +0 the second.
template <class V>
[[gnu::always_inline]] inline V min_nan(V a, V b) { return select(a == a, min(a, b), a); }
template <class V>
[[gnu::always_inline]] inline V max_nan(V a, V b) { return select(a == a, max(a, b), a); }

template <class V>
[[gnu::always_inline]] inline V abs(V a) { return bit_and(a, splat_bits<V>(0x7fffffffu)); }
template <class V>
[[gnu::always_inline]] inline V negate(V a) { return bit_xor(a, splat_bits<V>(0x80000000u)); }
template <class V>
[[gnu::always_inline]] inline V copy_sign(V magnitude, V sign) {
    return bit_or(abs(magnitude), bit_and(sign, splat_bits<V>(0x80000000u)));
}
