// tanh, sigmoid, exp, expm1, log over a vector type: no branch, no table, IEEE operations only.
//
// Errors are in units in the last place of the float32 result against the exact value: the largest over every
// float32 for tanh and sigmoid, over every 13th for the others (tools/accuracy). NaN gives NaN. The order of operations
// is part of the result: the compiler may not change it (no contraction), and an edit changes every bit test.
// Included inside the anonymous namespace of an ISA unit, after vector.inl.

// tanh: at most 3.90 ulp, odd, in [-1, 1], -0 kept, denormals exact, +-1 from |x| = 8.31143 on.
//
// With t = tanh(x/2) = n/d, tanh(x) = 2 n d / (d^2 + n^2). t is a rational function of u = x^2; the
// doubling costs no second division and takes away most of the rounding errors of n and d for large x,
// where the derivative of tanh by t vanishes. To keep the errors small for small x too, d is carried as
// d - 1 and 2 n as x plus a rest, so that the numerator is a correction to x and the denominator one to 1.
// Coefficients: minimax by weighted rational fit, then adjusted in the last bits to a small largest error
// of this very order of operations and a mean error near zero (below 0.1 ulp on [0.3, 0.5], [0.5, 1], [1, 2] and [2, 4]): a
// forget gate near 1 sums up a bias over many steps. The limit is a float whose result is 1.
template <class V>
[[gnu::always_inline]] inline V tanh(V x) {
    const V limit = V::splat(8.31142235f);
    x = min(limit, max(negate(limit), x));
    const V u = x * x;
    const V u2 = u * u;
    const V cube = x * u;
    const V half_x = x * V::splat(0.5f);
    const V p = fma(V::splat(0.000115039649f), u, V::splat(0.0298097283f));
    const V twice_n = fma(p, cube, x);
    const V n = fma(p, half_x * u, half_x);
    const V d_less_1 = fma(fma(V::splat(1.24580095e-06f), u, V::splat(0.00121032412f)), u2, V::splat(0.113143027f) * u);
    const V numerator = x + fma(twice_n, d_less_1, p * cube);
    const V denominator = fma(d_less_1, d_less_1 + V::splat(2.0f), fma(n, n, V::splat(1.0f)));
    return numerator / denominator;
}

// sigmoid: within 1.36e-7 of the exact value, in [0, 1], exactly 0 and 1 from |x| = 16.623 on; mean error below 0.1 ulp.
template <class V>
[[gnu::always_inline]] inline V sigmoid(V x) {
    const V half = V::splat(0.5f);
    return fma(tanh(x * half), half, half);
}

// A power of two as two factors, so that the range of both, down to denormal products, is reached with
// one rounding: (p * first) * second.
template <class V>
struct PowerOfTwo {
    V first, second;
};

constexpr float round_magic = 12582912.0f;   // 1.5 * 2^23: adding it rounds to an integer, kept in the low bits

// 2^k for an integer |k| <= 252 given as round_magic + k.
template <class V>
[[gnu::always_inline]] inline PowerOfTwo<V> power_of_two(V k_plus_magic) {
    const V k = sub_bits(k_plus_magic, splat_bits<V>(0x4b400000u - 256u));   // k + 256
    const V half_k = shift_right<1>(k);
    const V one = splat_bits<V>(1u);
    return {shift_left<23>(sub_bits(half_k, one)), shift_left<23>(sub_bits(sub_bits(k, half_k), one))};
}

// exp(x) = p * scale with p in [0.7, 1.5], for x down to -150 (below, as at -150) and up to 89.
template <class V>
struct ExpParts {
    V p;
    PowerOfTwo<V> scale;
};

template <class V>
[[gnu::always_inline]] inline ExpParts<V> exp_parts(V x) {
    x = min(V::splat(89.0f), max(V::splat(-150.0f), x));
    const V k_plus_magic = fma(x, V::splat(1.44269502f), V::splat(round_magic));
    const V k = k_plus_magic - V::splat(round_magic);
    V r = fma(k, V::splat(-0.693147182f), x);
    r = fma(k, V::splat(1.90465421e-9f), r);
    const V r2 = r * r;
    const V low = fma(V::splat(0.166665152f), r, V::splat(0.499999940f));
    const V high = fma(V::splat(0.00836941600f), r, V::splat(0.0416684561f));
    const V a = fma(fma(V::splat(0.00138132216f), r2, high), r2, low);
    return {fma(a, r2, r) + V::splat(1.0f), power_of_two(k_plus_magic)};
}

// exp: at most 1.1 ulp, denormal results included; inf above, 0 below.
template <class V>
[[gnu::always_inline]] inline V exp(V x) {
    const ExpParts<V> e = exp_parts(x);
    return e.p * e.scale.first * e.scale.second;
}

// exp(x) - 1 for x <= 0 (above, as at 0): at most 0.9 ulp.
template <class V>
[[gnu::always_inline]] inline V expm1_nonpositive(V x) {
    x = min(V::splat(0.0f), max(V::splat(-25.0f), x));
    const V k_plus_magic = fma(x, V::splat(1.44269502f), V::splat(round_magic));
    const V k = k_plus_magic - V::splat(round_magic);
    V r = fma(k, V::splat(-0.693147182f), x);
    r = fma(k, V::splat(1.90465421e-9f), r);
    const V r2 = r * r;
    const V low = fma(V::splat(0.166666664f), r, V::splat(0.5f));
    const V middle = fma(V::splat(0.00833339160f), r, V::splat(0.0416663486f));
    const V high = fma(V::splat(0.000198459706f), r, V::splat(0.00139416543f));
    const V a = fma(fma(high, r2, middle), r2, low);
    const V scale = shift_left<23>(add_bits(k_plus_magic, splat_bits<V>(127u - 0x4b400000u)));
    return fma(scale, fma(a, r2, r), scale - V::splat(1.0f));
}

// x = 2^k (1 + f) with f in [sqrt(1/2) - 1, sqrt(2) - 1), for positive x including denormal ones.
template <class V>
struct LogParts {
    V k, f;
};

template <class V>
[[gnu::always_inline]] inline LogParts<V> log_parts(V x) {
    const auto denormal = x < V::splat(1.17549435e-38f);
    x = select(denormal, x * V::splat(8388608.0f), x);
    const V bits = add_bits(x, splat_bits<V>(0x3f800000u - 0x3f3504f3u));
    const V biased_k = bit_or(shift_right<23>(bits), splat_bits<V>(0x4b000000u)) - V::splat(8388608.0f);
    const V k = biased_k - select(denormal, V::splat(150.0f), V::splat(127.0f));
    const V m = add_bits(bit_and(bits, splat_bits<V>(0x007fffffu)), splat_bits<V>(0x3f3504f3u));
    return {k, m - V::splat(1.0f)};
}

// k ln 2 + log(1 + f)
template <class V>
[[gnu::always_inline]] inline V log_of_parts(V k, V f) {
    const V f2 = f * f;
    const V f4 = f2 * f2;
    const V a = fma(V::splat(-0.250008374f), f, V::splat(0.333333313f));
    const V b = fma(V::splat(-0.166227892f), f, V::splat(0.200012848f));
    const V c = fma(V::splat(-0.131641135f), f, V::splat(0.141998857f));
    const V d = fma(V::splat(-0.0764460489f), f, V::splat(0.127777502f));
    const V series = fma(fma(d, f2, c), f4, fma(b, f2, a));
    V y = fma(f2 * f, series, k * V::splat(-1.90465421e-9f));
    y = fma(f * V::splat(-0.5f), f, y);
    return fma(k, V::splat(0.693147182f), f + y);
}

// log: at most 0.8 ulp; log(0) = -inf, NaN below 0.
template <class V>
[[gnu::always_inline]] inline V log(V x) {
    const V infinity = splat_bits<V>(0x7f800000u);
    const LogParts<V> parts = log_parts(x);
    V y = log_of_parts(parts.k, parts.f);
    y = select(x < infinity, y, x);   // inf and NaN as they are
    y = select(x == V::splat(0.0f), negate(infinity), y);
    return select(x < V::splat(0.0f), splat_bits<V>(0x7fc00000u), y);
}

// log(1 + x) for 0 <= x <= 1, accurate relative to the result.
template <class V>
[[gnu::always_inline]] inline V log1p_unit(V x) {
    const auto big = V::splat(0.414213562f) < x;
    const V half = V::splat(0.5f);
    return log_of_parts(select(big, V::splat(1.0f), V::splat(0.0f)), select(big, fma(x, half, negate(half)), x));
}

// Largest integer <= x; exact, -0 kept.
template <class V>
[[gnu::always_inline]] inline V floor(V x) {
    const V integers_from = V::splat(8388608.0f);
    const V magnitude = abs(x);
    const V nearest = copy_sign((magnitude + integers_from) - integers_from, x);
    const V y = nearest - select(x < nearest, V::splat(1.0f), V::splat(0.0f));
    return select(magnitude < integers_from, y, x);
}
