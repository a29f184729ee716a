// The functions that generated code may need, one after the other: `//@ name: what it calls`. Only those that a network
// needs are written out, with RT_ replaced by the network's name. What they compute is defined in cpp/src/kernels (math.inl,
// special.inl, activation.inl, reduce.inl, quantize.inl), operation by operation: the order is part of the result.

//@ bits:
RT_INLINE unsigned RT_bits(float x) {
    union { float f; unsigned u; } v;
    v.f = x;
    return v.u;
}

//@ from_bits:
RT_INLINE float RT_from_bits(unsigned u) {
    union { float f; unsigned u; } v;
    v.u = u;
    return v.f;
}

//@ min:
RT_INLINE float RT_min(float a, float b) { return a < b ? a : b; }

//@ max:
RT_INLINE float RT_max(float a, float b) { return a > b ? a : b; }

//@ min_nan: min
RT_INLINE float RT_min_nan(float a, float b) { return a == a ? RT_min(a, b) : a; }

//@ max_nan: max
RT_INLINE float RT_max_nan(float a, float b) { return a == a ? RT_max(a, b) : a; }

//@ abs: bits from_bits
RT_INLINE float RT_abs(float x) { return RT_from_bits(RT_bits(x) & 0x7fffffffu); }

//@ copy_sign: bits from_bits
RT_INLINE float RT_copy_sign(float magnitude, float sign) {
    return RT_from_bits((RT_bits(magnitude) & 0x7fffffffu) | (RT_bits(sign) & 0x80000000u));
}

//@ tanh: fma min max
RT_INLINE float RT_tanh(float x) {
    const float limit = 8.31142235f;
    float u, u2, cube, half_x, p, twice_n, n, d_less_1;
    x = RT_min(limit, RT_max(-limit, x));
    u = x * x;
    u2 = u * u;
    cube = x * u;
    half_x = x * 0.5f;
    p = RT_fma(0.000115039649f, u, 0.0298097283f);
    twice_n = RT_fma(p, cube, x);
    n = RT_fma(p, half_x * u, half_x);
    d_less_1 = RT_fma(RT_fma(1.24580095e-06f, u, 0.00121032412f), u2, 0.113143027f * u);
    return (x + RT_fma(twice_n, d_less_1, p * cube)) / RT_fma(d_less_1, d_less_1 + 2.0f, RT_fma(n, n, 1.0f));
}

//@ sigmoid: fma tanh
RT_INLINE float RT_sigmoid(float x) { return RT_fma(RT_tanh(x * 0.5f), 0.5f, 0.5f); }

//@ power: bits from_bits
/* 2^k, for k given as 1.5 * 2^23 + k, as two factors. */
typedef struct RT_power { float first, second; } RT_power;

RT_INLINE RT_power RT_power_of_two(float k_plus_magic) {
    const unsigned k = RT_bits(k_plus_magic) - (0x4b400000u - 256u), half_k = k >> 1;
    RT_power scale;
    scale.first = RT_from_bits((half_k - 1u) << 23);
    scale.second = RT_from_bits((k - half_k - 1u) << 23);
    return scale;
}

//@ exp_parts: fma min max power
/* exp(x) = p * scale */
typedef struct RT_exp_value { float p; RT_power scale; } RT_exp_value;

RT_INLINE RT_exp_value RT_exp_parts(float x) {
    float k_plus_magic, k, r, r2, low, high, a;
    RT_exp_value e;
    x = RT_min(89.0f, RT_max(-150.0f, x));
    k_plus_magic = RT_fma(x, 1.44269502f, 12582912.0f);
    k = k_plus_magic - 12582912.0f;
    r = RT_fma(k, -0.693147182f, x);
    r = RT_fma(k, 1.90465421e-9f, r);
    r2 = r * r;
    low = RT_fma(0.166665152f, r, 0.499999940f);
    high = RT_fma(0.00836941600f, r, 0.0416684561f);
    a = RT_fma(RT_fma(0.00138132216f, r2, high), r2, low);
    e.p = RT_fma(a, r2, r) + 1.0f;
    e.scale = RT_power_of_two(k_plus_magic);
    return e;
}

//@ exp: exp_parts
RT_INLINE float RT_exp(float x) {
    const RT_exp_value e = RT_exp_parts(x);
    return e.p * e.scale.first * e.scale.second;
}

//@ expm1: fma min max bits from_bits
/* exp(x) - 1 for x <= 0; above, as at 0 */
RT_INLINE float RT_expm1(float x) {
    float k_plus_magic, k, r, r2, low, middle, high, a, scale;
    x = RT_min(0.0f, RT_max(-25.0f, x));
    k_plus_magic = RT_fma(x, 1.44269502f, 12582912.0f);
    k = k_plus_magic - 12582912.0f;
    r = RT_fma(k, -0.693147182f, x);
    r = RT_fma(k, 1.90465421e-9f, r);
    r2 = r * r;
    low = RT_fma(0.166666664f, r, 0.5f);
    middle = RT_fma(0.00833339160f, r, 0.0416663486f);
    high = RT_fma(0.000198459706f, r, 0.00139416543f);
    a = RT_fma(RT_fma(high, r2, middle), r2, low);
    scale = RT_from_bits((RT_bits(k_plus_magic) + (127u - 0x4b400000u)) << 23);
    return RT_fma(scale, RT_fma(a, r2, r), scale - 1.0f);
}

//@ log_parts: bits from_bits
/* x = 2^k (1 + f) */
typedef struct RT_log_value { float k, f; } RT_log_value;

RT_INLINE RT_log_value RT_log_parts(float x) {
    const int denormal = x < 1.17549435e-38f;
    unsigned bits;
    RT_log_value parts;
    x = denormal ? x * 8388608.0f : x;
    bits = RT_bits(x) + (0x3f800000u - 0x3f3504f3u);
    parts.k = (RT_from_bits((bits >> 23) | 0x4b000000u) - 8388608.0f) - (denormal ? 150.0f : 127.0f);
    parts.f = RT_from_bits((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    return parts;
}

//@ log_of_parts: fma
RT_INLINE float RT_log_of_parts(float k, float f) {
    const float f2 = f * f, f4 = f2 * f2;
    const float a = RT_fma(-0.250008374f, f, 0.333333313f);
    const float b = RT_fma(-0.166227892f, f, 0.200012848f);
    const float c = RT_fma(-0.131641135f, f, 0.141998857f);
    const float d = RT_fma(-0.0764460489f, f, 0.127777502f);
    const float series = RT_fma(RT_fma(d, f2, c), f4, RT_fma(b, f2, a));
    float y = RT_fma(f2 * f, series, k * -1.90465421e-9f);
    y = RT_fma(f * -0.5f, f, y);
    return RT_fma(k, 0.693147182f, f + y);
}

//@ log: from_bits log_parts log_of_parts
RT_INLINE float RT_log(float x) {
    const float infinity = RT_from_bits(0x7f800000u);
    const RT_log_value parts = RT_log_parts(x);
    float y = RT_log_of_parts(parts.k, parts.f);
    y = x < infinity ? y : x;
    y = x == 0.0f ? -infinity : y;
    return x < 0.0f ? RT_from_bits(0x7fc00000u) : y;
}

//@ log1p_unit: fma log_of_parts
/* log(1 + x) for 0 <= x <= 1 */
RT_INLINE float RT_log1p_unit(float x) {
    const int big = 0.414213562f < x;
    return RT_log_of_parts(big ? 1.0f : 0.0f, big ? RT_fma(x, 0.5f, -0.5f) : x);
}

//@ floor: abs copy_sign
RT_INLINE float RT_floor(float x) {
    const float magnitude = RT_abs(x);
    const float nearest = RT_copy_sign((magnitude + 8388608.0f) - 8388608.0f, x);
    const float y = nearest - (x < nearest ? 1.0f : 0.0f);
    return magnitude < 8388608.0f ? y : x;
}

//@ ceil: floor
RT_INLINE float RT_ceil(float x) { return -RT_floor(-x); }

//@ softplus: max abs exp log1p_unit
RT_INLINE float RT_softplus(float x, float alpha, float beta) {
    const float z = alpha * x;
    const float y = (RT_max(0.0f, z) + RT_log1p_unit(RT_exp(-RT_abs(z)))) / alpha;
    return beta < z ? x : y;
}

//@ swish: abs exp_parts
/* x / (1 + exp(-z)) */
RT_INLINE float RT_swish(float x, float z) {
    const RT_exp_value e = RT_exp_parts(-RT_abs(z));
    const float decay = e.p * e.scale.first * e.scale.second;
    const float y = x * ((z < 0.0f ? decay : 1.0f) / (1.0f + decay));
    const float tail = x * e.p * e.scale.first * e.scale.second;
    return z < -150.0f ? 0.0f : z < -80.0f ? tail : y;
}

//@ silu: swish
RT_INLINE float RT_silu(float x, float alpha) { return RT_swish(x, alpha * x); }

//@ mish: min exp_parts
RT_INLINE float RT_mish(float x) {
    const RT_exp_value e = RT_exp_parts(RT_min(20.0f, x));
    const float power = e.p * e.scale.first * e.scale.second;
    const float n = power * (power + 2.0f);
    const float y = x * (n / (n + 2.0f));
    const float tail = x * e.p * e.scale.first * e.scale.second;
    return x < -150.0f ? 0.0f : x < -40.0f ? tail : y;
}

//@ normal_tail: fma min exp_parts
/* the normal distribution beyond a >= 0: ratio * exp */
typedef struct RT_tail { float ratio; RT_exp_value exp; } RT_tail;

RT_INLINE RT_tail RT_normal_tail(float a) {
    float square, square_error, p, q;
    RT_tail tail;
    a = RT_min(15.0f, a);
    square = a * a;
    square_error = RT_fma(a, a, -square);
    tail.exp = RT_exp_parts(square * -0.5f);
    tail.exp.p = RT_fma(tail.exp.p, square_error * -0.5f, tail.exp.p);
    p = 0.00415373314f;
    p = RT_fma(p, a, 0.0408844948f);
    p = RT_fma(p, a, 0.183979169f);
    p = RT_fma(p, a, 0.439297020f);
    p = RT_fma(p, a, 0.5f);
    q = 0.0104117533f;
    q = RT_fma(q, a, 0.102488346f);
    q = RT_fma(q, a, 0.471435179f);
    q = RT_fma(q, a, 1.20559001f);
    q = RT_fma(q, a, 1.67647906f);
    q = RT_fma(q, a, 1.0f);
    tail.ratio = p / q;
    return tail;
}

//@ erf: fma abs copy_sign normal_tail
RT_INLINE float RT_erf(float x) {
    const float a = RT_abs(x), u = x * x;
    float p = 7.85385869e-5f, near, far;
    RT_tail tail;
    p = RT_fma(p, u, -0.000801019264f);
    p = RT_fma(p, u, 0.00518832757f);
    p = RT_fma(p, u, -0.0268538119f);
    p = RT_fma(p, u, 0.112835851f);
    p = RT_fma(p, u, -0.376126258f);
    near = RT_fma(p, u * x, RT_fma(x, 0.128379166f, x));
    tail = RT_normal_tail(a * 1.41421356f);
    far = tail.ratio * tail.exp.p * tail.exp.scale.first * tail.exp.scale.second;
    far = RT_copy_sign(RT_fma(-2.0f, far, 1.0f), x);
    return a < 0.85f ? near : far;
}

//@ gelu: min max abs normal_tail
RT_INLINE float RT_gelu(float x) {
    const float a = RT_abs(x);
    const RT_tail tail = RT_normal_tail(a);
    return RT_max(0.0f, x) - RT_min(15.0f, a) * tail.ratio * tail.exp.p * tail.exp.scale.first * tail.exp.scale.second;
}

//@ gelu_tanh: fma swish
RT_INLINE float RT_gelu_tanh(float x) { return RT_swish(x, x * RT_fma(x * x, 0.0713548139f, 1.59576912f)); }

//@ pow: fma min max bits from_bits abs floor power log_parts
typedef struct RT_split { float high, low; } RT_split;

RT_INLINE RT_split RT_log2_split(float x) {
    const RT_log_value parts = RT_log_parts(x);
    const float f = parts.f, d = f + 2.0f, d_low = f - (d - 2.0f), s = f / d;
    const float s_low = RT_fma(-s, d_low, RT_fma(-s, d, f)) / d, u = s * s, constant = 2.88539004f, first = s * constant;
    float series = 0.117926765f, low, sum;
    RT_split log2;
    series = RT_fma(series, u, 0.142685739f);
    series = RT_fma(series, u, 0.200001688f);
    series = RT_fma(series, u, 0.333333328f);
    low = RT_fma(s, constant, -first);
    low = RT_fma(s, 3.85192598e-8f, low);
    low = RT_fma(s_low, constant, low);
    low = RT_fma(first * u, series, low);
    sum = parts.k + first;
    low = (first - (sum - parts.k)) + low;
    log2.high = sum + low;
    log2.low = low - (log2.high - sum);
    return log2;
}

RT_INLINE float RT_pow(float a, float b) {
    const float infinity = RT_from_bits(0x7f800000u), magnitude = RT_abs(a);
    const int regular = 0.0f < magnitude && magnitude < infinity;
    RT_split log2 = RT_log2_split(magnitude);
    RT_power scale;
    float e, e_low, k_plus_magic, r, p, y, half;
    int even, integer;
    log2.high = regular ? log2.high : magnitude == 0.0f ? -infinity : magnitude;
    e = b * log2.high;
    e_low = RT_fma(b, log2.low, RT_fma(b, log2.high, -e));
    e_low = RT_abs(e) < 200.0f ? e_low : 0.0f;
    e = RT_min(200.0f, RT_max(-200.0f, e));
    k_plus_magic = e + 12582912.0f;
    r = (e - (k_plus_magic - 12582912.0f)) + e_low;
    p = 0.000154774381f;
    p = RT_fma(p, r, 0.00134016277f);
    p = RT_fma(p, r, 0.00961799997f);
    p = RT_fma(p, r, 0.0555032436f);
    p = RT_fma(p, r, 0.240226514f);
    p = RT_fma(p, r, 0.693147208f);
    p = RT_fma(p, r, 1.0f);
    scale = RT_power_of_two(k_plus_magic);
    y = p * scale.first * scale.second;
    y = magnitude == 1.0f && b == b ? 1.0f : y;
    half = b * 0.5f;
    even = RT_floor(half) == half;
    integer = RT_floor(b) == b;
    if (integer) {
        y = even ? y : RT_from_bits(RT_bits(y) ^ (RT_bits(a) & 0x80000000u));
    } else {
        y = a < 0.0f && -infinity < a ? RT_from_bits(0x7fc00000u) : y;
    }
    y = a == a ? (b == b ? y : b) : a;
    return b == 0.0f || a == 1.0f ? 1.0f : y;
}

//@ sign:
RT_INLINE float RT_sign(float x) { return 0.0f < x ? 1.0f : x < 0.0f ? -1.0f : x; }

//@ relu: max
RT_INLINE float RT_relu(float x) { return RT_max(0.0f, x); }

//@ leaky_relu:
RT_INLINE float RT_leaky_relu(float x, float alpha) { return 0.0f <= x ? x : alpha * x; }

//@ elu: expm1
RT_INLINE float RT_elu(float x, float alpha) {
    const float y = alpha * RT_expm1(x);
    return 0.0f < x ? x : y;
}

//@ selu: elu
RT_INLINE float RT_selu(float x, float alpha, float beta) { return beta * RT_elu(x, alpha); }

//@ celu: expm1
RT_INLINE float RT_celu(float x, float alpha) {
    const float y = alpha * RT_expm1(x / alpha);
    return 0.0f < x ? x : y;
}

//@ softsign: abs
RT_INLINE float RT_softsign(float x) { return x / (1.0f + RT_abs(x)); }

//@ hard_sigmoid: fma min max
RT_INLINE float RT_hard_sigmoid(float x, float alpha, float beta) { return RT_min(1.0f, RT_max(0.0f, RT_fma(alpha, x, beta))); }

//@ hard_swish: min max
RT_INLINE float RT_hard_swish(float x) { return x * (RT_min(6.0f, RT_max(0.0f, x + 3.0f)) / 6.0f); }

//@ thresholded_relu:
RT_INLINE float RT_thresholded_relu(float x, float alpha) { return x <= alpha ? 0.0f : x; }

//@ scaled_tanh: tanh
RT_INLINE float RT_scaled_tanh(float x, float alpha, float beta) { return alpha * RT_tanh(beta * x); }

//@ clip: min max
RT_INLINE float RT_clip(float x, float alpha, float beta) { return RT_min(beta, RT_max(alpha, x)); }

//@ copy:
static void RT_copy(const float* x, int n, float* y) {
    int i;
    for (i = 0; i < n; ++i) y[i] = x[i];
}

//@ all_finite: bits
static int RT_all_finite(const float* x, int n) {
    int i, bad = 0;
    for (i = 0; i < n; ++i) bad |= (RT_bits(x[i]) & 0x7f800000u) == 0x7f800000u;
    return !bad;
}

//@ reduce_sum:
/* Element i goes to lane i mod 16, then lanes i and i + 8 are joined, then + 4, + 2, + 1. */
static float RT_reduce_sum(const float* x, int n) {
    float lane[16];
    int i, k;
    for (k = 0; k < 16; ++k) lane[k] = 0.0f;
    for (i = 0; i < n; i += 16)
        for (k = 0; k < 16; ++k) lane[k] = lane[k] + (i + k < n ? x[i + k] : 0.0f);
    for (i = 8; i > 0; i /= 2)
        for (k = 0; k < i; ++k) lane[k] = lane[k] + lane[k + i];
    return lane[0];
}

//@ reduce_max: max_nan
static float RT_reduce_max(const float* x, int n) {
    float lane[16];
    int i, k;
    for (k = 0; k < 16; ++k) lane[k] = x[0];
    for (i = 0; i < n; i += 16)
        for (k = 0; k < 16; ++k) lane[k] = RT_max_nan(lane[k], i + k < n ? x[i + k] : x[0]);
    for (i = 8; i > 0; i /= 2)
        for (k = 0; k < i; ++k) lane[k] = RT_max_nan(lane[k], lane[k + i]);
    return lane[0];
}

//@ reduce_min: min_nan
static float RT_reduce_min(const float* x, int n) {
    float lane[16];
    int i, k;
    for (k = 0; k < 16; ++k) lane[k] = x[0];
    for (i = 0; i < n; i += 16)
        for (k = 0; k < 16; ++k) lane[k] = RT_min_nan(lane[k], i + k < n ? x[i + k] : x[0]);
    for (i = 8; i > 0; i /= 2)
        for (k = 0; k < i; ++k) lane[k] = RT_min_nan(lane[k], lane[k + i]);
    return lane[0];
}

//@ softmax: exp reduce_max reduce_sum
static void RT_softmax(const float* x, int n, float* y) {
    const float largest = RT_reduce_max(x, n);
    float sum;
    int i;
    for (i = 0; i < n; ++i) y[i] = RT_exp(x[i] - largest);
    sum = RT_reduce_sum(y, n);
    for (i = 0; i < n; ++i) y[i] = y[i] / sum;
}

//@ layer_norm: fma sqrt reduce_sum
/* `y` first holds the squared distances from the mean */
static void RT_layer_norm(const float* x, const float* weight, const float* bias, float eps, int n, float* y) {
    const float mean = RT_reduce_sum(x, n) / (float)n;
    float inverse;
    int i;
    for (i = 0; i < n; ++i) {
        const float d = x[i] - mean;
        y[i] = d * d;
    }
    inverse = 1.0f / RT_sqrt(RT_reduce_sum(y, n) / (float)n + eps);
    for (i = 0; i < n; ++i) y[i] = RT_fma((x[i] - mean) * inverse, weight ? weight[i] : 1.0f, bias ? bias[i] : 0.0f);
}

//@ quantize: fma bits from_bits
/* x as integers from -limit to limit times the unit that is returned; NaN when an element is not finite. */
static float RT_quantize(const float* x, int n, float limit, short* integers) {
    unsigned bits = 0x0d800000u; /* 2^-100 */
    float largest, scale;
    int i;
    for (i = 0; i < n; ++i) {
        const unsigned magnitude = RT_bits(x[i]) & 0x7fffffffu;
        bits = magnitude > bits ? magnitude : bits;
    }
    largest = RT_from_bits(bits);
    scale = limit / largest;
    for (i = 0; i < n; ++i) integers[i] = (short)((int)((RT_bits(RT_fma(x[i], scale, 12582912.0f)) & 0xffffu) ^ 0x8000u) - 0x8000);
    return largest / limit + (largest - largest);
}
