// Functions made of those in math.inl: softplus, silu, mish, erf, gelu, pow.
//
// Negative tails are accurate relative to the result, as far as its size allows: a factor that would
// underflow is multiplied in last, so nothing is lost to denormals before the result itself is one.
// Included inside the anonymous namespace of an ISA unit, after math.inl.

// log(1 + exp(alpha x)) / alpha, and x where alpha x > beta.
template <class V>
[[gnu::always_inline]] inline V softplus(V x, V alpha, V beta) {
    const V z = alpha * x;
    const V y = (max(V::splat(0.0f), z) + log1p_unit(exp(negate(abs(z))))) / alpha;
    return select(beta < z, x, y);
}

// Below this the product of a tail exp(z) with any x that z can come from is 0 in float32.
constexpr float vanishing = -150.0f;

// x / (1 + exp(-z)): at most 3.2 ulp for z = x.
template <class V>
[[gnu::always_inline]] inline V swish(V x, V z) {
    const ExpParts<V> e = exp_parts(negate(abs(z)));
    const V decay = e.p * e.scale.first * e.scale.second;
    const V one = V::splat(1.0f);
    const V zero = V::splat(0.0f);
    const V y = x * (select(z < zero, decay, one) / (one + decay));
    const V tail = x * e.p * e.scale.first * e.scale.second;
    return select(z < V::splat(vanishing), zero, select(z < V::splat(-80.0f), tail, y));
}

// x tanh(log(1 + e^x)) = x n / (n + 2) with n = e^x (e^x + 2): at most 4.3 ulp.
template <class V>
[[gnu::always_inline]] inline V mish(V x) {
    const V two = V::splat(2.0f);
    const ExpParts<V> e = exp_parts(min(V::splat(20.0f), x));
    const V power = e.p * e.scale.first * e.scale.second;
    const V n = power * (power + two);
    const V y = x * (n / (n + two));
    const V tail = x * e.p * e.scale.first * e.scale.second;
    return select(x < V::splat(vanishing), V::splat(0.0f), select(x < V::splat(-40.0f), tail, y));
}

// The normal distribution beyond a >= 0: Phi(-a) = ratio * exp, ratio = (1 - Phi(a)) exp(a^2 / 2), 0.5 at 0.
// a^2 is carried with its rounding error, which exp would magnify. Beyond 15 as at 15.
template <class V>
struct NormalTail {
    V ratio;
    ExpParts<V> exp;
};

template <class V>
[[gnu::always_inline]] inline NormalTail<V> normal_tail(V a) {
    a = min(V::splat(15.0f), a);
    const V square = a * a;
    const V square_error = fma(a, a, negate(square));
    const V minus_half = V::splat(-0.5f);
    ExpParts<V> e = exp_parts(square * minus_half);
    e.p = fma(e.p, square_error * minus_half, e.p);
    V p = V::splat(0.00415373314f);
    p = fma(p, a, V::splat(0.0408844948f));
    p = fma(p, a, V::splat(0.183979169f));
    p = fma(p, a, V::splat(0.439297020f));
    p = fma(p, a, V::splat(0.5f));
    V q = V::splat(0.0104117533f);
    q = fma(q, a, V::splat(0.102488346f));
    q = fma(q, a, V::splat(0.471435179f));
    q = fma(q, a, V::splat(1.20559001f));
    q = fma(q, a, V::splat(1.67647906f));
    q = fma(q, a, V::splat(1.0f));
    return {p / q, e};
}

// erf: at most 1.7 ulp.
template <class V>
[[gnu::always_inline]] inline V erf(V x) {
    const V a = abs(x);
    const V u = x * x;
    V p = V::splat(7.85385869e-5f);
    p = fma(p, u, V::splat(-0.000801019264f));
    p = fma(p, u, V::splat(0.00518832757f));
    p = fma(p, u, V::splat(-0.0268538119f));
    p = fma(p, u, V::splat(0.112835851f));
    p = fma(p, u, V::splat(-0.376126258f));
    const V near = fma(p, u * x, fma(x, V::splat(0.128379166f), x));
    const NormalTail<V> tail = normal_tail(a * V::splat(1.41421356f));
    const V beyond = tail.ratio * tail.exp.p * tail.exp.scale.first * tail.exp.scale.second;
    const V far = copy_sign(fma(V::splat(-2.0f), beyond, V::splat(1.0f)), x);
    return select(a < V::splat(0.85f), near, far);
}

// x Phi(x) = max(x, 0) - |x| Phi(-|x|): at most 6.5 ulp.
template <class V>
[[gnu::always_inline]] inline V gelu(V x) {
    const V a = abs(x);
    const NormalTail<V> tail = normal_tail(a);
    const V beyond = min(V::splat(15.0f), a) * tail.ratio * tail.exp.p * tail.exp.scale.first * tail.exp.scale.second;
    return max(V::splat(0.0f), x) - beyond;
}

// x Phi(x) by its tanh approximation, 0.5 x (1 + tanh(y)) = x sigmoid(2 y) with y = sqrt(2/pi) (x + 0.044715 x^3).
template <class V>
[[gnu::always_inline]] inline V gelu_tanh(V x) {
    const V cubic = fma(x * x, V::splat(0.0713548139f), V::splat(1.59576912f));
    return swish(x, x * cubic);
}

// log2(x) for positive finite x as a sum high + low, good to about 2^-30 of its value.
template <class V>
struct Split {
    V high, low;
};

template <class V>
[[gnu::always_inline]] inline Split<V> log2_split(V x) {
    // log2(1 + f) = (2 / ln 2) atanh(s), s = f / (2 + f); s, and its product with the constant, in two parts
    const LogParts<V> parts = log_parts(x);
    const V f = parts.f;
    const V two = V::splat(2.0f);
    const V d = f + two;
    const V d_low = f - (d - two);
    const V s = f / d;
    const V s_low = fma(negate(s), d_low, fma(negate(s), d, f)) / d;
    const V u = s * s;
    V series = V::splat(0.117926765f);
    series = fma(series, u, V::splat(0.142685739f));
    series = fma(series, u, V::splat(0.200001688f));
    series = fma(series, u, V::splat(0.333333328f));
    const V constant = V::splat(2.88539004f);
    const V first = s * constant;
    V low = fma(s, constant, negate(first));
    low = fma(s, V::splat(3.85192598e-8f), low);
    low = fma(s_low, constant, low);
    low = fma(first * u, series, low);
    const V sum = parts.k + first;
    low = (first - (sum - parts.k)) + low;
    const V high = sum + low;
    return {high, low - (high - sum)};
}

// a^b: the special cases of C's pow (a^0 = 1^b = 1, signs of zero and infinity, NaN for a negative base
// with an exponent that is no integer); at most 1.1 ulp over 200,000 random pairs.
template <class V>
[[gnu::always_inline]] inline V pow(V a, V b) {
    const V one = V::splat(1.0f);
    const V zero = V::splat(0.0f);
    const V infinity = splat_bits<V>(0x7f800000u);
    const V magnitude = abs(a);
    Split<V> log2 = log2_split(magnitude);
    const auto regular = (zero < magnitude) & (magnitude < infinity);
    log2.high = select(regular, log2.high, select(magnitude == zero, negate(infinity), magnitude));
    V e = b * log2.high;
    V e_low = fma(b, log2.low, fma(b, log2.high, negate(e)));
    const V limit = V::splat(200.0f);
    e_low = select(abs(e) < limit, e_low, zero);
    e = min(limit, max(negate(limit), e));
    const V k_plus_magic = e + V::splat(round_magic);
    const V r = (e - (k_plus_magic - V::splat(round_magic))) + e_low;
    V p = V::splat(0.000154774381f);
    p = fma(p, r, V::splat(0.00134016277f));
    p = fma(p, r, V::splat(0.00961799997f));
    p = fma(p, r, V::splat(0.0555032436f));
    p = fma(p, r, V::splat(0.240226514f));
    p = fma(p, r, V::splat(0.693147208f));
    p = fma(p, r, one);
    const PowerOfTwo<V> scale = power_of_two(k_plus_magic);
    V y = p * scale.first * scale.second;
    y = select((magnitude == one) & (b == b), one, y);

    const V half = b * V::splat(0.5f);
    const auto even = floor(half) == half;
    const auto integer = floor(b) == b;
    const V sign_bit = splat_bits<V>(0x80000000u);
    y = select(integer, select(even, y, bit_xor(y, bit_and(a, sign_bit))),
               select((a < zero) & (negate(infinity) < a), splat_bits<V>(0x7fc00000u), y));
    y = select(a == a, select(b == b, y, b), a);
    return select((b == zero) | (a == one), one, y);
}
