// Kernels that reduce: reduce, softmax, layer_norm. A row is reduced in an order fixed by its length:
// element i goes to lane i mod 16, then lane i and lane i + 8 are joined, then + 4, + 2, + 1.
// Included inside the anonymous namespace of an ISA unit, after elementwise.inl.

template <ReduceKind kind, class V>
[[gnu::always_inline]] inline V join(V a, V b) {
    if constexpr (kind == ReduceKind::max) return max_nan(a, b);
    if constexpr (kind == ReduceKind::min) return min_nan(a, b);
    if constexpr (kind == ReduceKind::sum || kind == ReduceKind::mean) return a + b;
}

template <ReduceKind kind>
[[gnu::always_inline]] inline float join_scalar(float a, float b) {
    if constexpr (kind == ReduceKind::max) return a != a || a > b ? a : b;
    if constexpr (kind == ReduceKind::min) return a != a || a < b ? a : b;
    if constexpr (kind == ReduceKind::sum || kind == ReduceKind::mean) return a + b;
}

// map(x): the value that each element of x contributes. Lanes beyond the end hold what leaves the result as it
// is: 0 for a sum, the first element for a minimum or maximum.
template <ReduceKind kind, class F>
[[gnu::always_inline]] inline float reduce_row(const float* x, int n, const F& map) {
    constexpr int lanes = 16;
    constexpr bool sums = kind == ReduceKind::sum || kind == ReduceKind::mean;
    const Width16 fill = sums ? Width16::splat(0.0f) : map(Width16::splat(n > 0 ? x[0] : 0.0f));
    Width16 result = fill;
    int i = 0;
    for (; i + lanes <= n; i += lanes) result = join<kind>(result, map(Width16::load(x + i)));
    float lane[lanes];
    if (i < n) {
        store(lane, fill);
        store_partial(lane, n - i, map(Width16::load_partial(x + i, n - i)));
        result = join<kind>(result, Width16::load(lane));
    }
    store(lane, result);
    store(lane, join<kind>(Width8::load(lane), Width8::load(lane + 8)));
    float four[4], two[2];
    for (int k = 0; k < 4; ++k) four[k] = join_scalar<kind>(lane[k], lane[k + 4]);
    for (int k = 0; k < 2; ++k) two[k] = join_scalar<kind>(four[k], four[k + 2]);
    return join_scalar<kind>(two[0], two[1]);
}

struct Same {
    template <class V>
    [[gnu::always_inline]] inline V operator()(V x) const { return x; }
};

// Over an axis that is not the last: each output takes its elements in their order.
template <ReduceKind kind>
[[gnu::always_inline]] inline void reduce_columns(const float* x, float* y, int reduce, int inner) {
    const float count = static_cast<float>(reduce);
    for (int i = 0; i < inner; i += Native::lanes) {
        const int left = inner - i;
        Native result = load_up_to<Native>(x + i, left);
        for (int k = 1; k < reduce; ++k) {
            const float* row = x + static_cast<std::ptrdiff_t>(k) * inner;
            result = join<kind>(result, load_up_to<Native>(row + i, left));
        }
        if constexpr (kind == ReduceKind::mean) result = result / Native::splat(count);
        store_up_to(y + i, left, result);
    }
}

template <ReduceKind kind>
void reduce_kind(const ReduceArgs& a, float* arena) {
    const float* x = resolve(a.x, arena);
    float* y = arena + a.y.offset;
    for (int outer = 0; outer < a.outer; ++outer) {
        if (a.inner == 1) {
            const float value = reduce_row<kind>(x, a.reduce, Same{});
            *y = kind == ReduceKind::mean ? value / static_cast<float>(a.reduce) : value;
        } else {
            reduce_columns<kind>(x, y, a.reduce, a.inner);
        }
        x += static_cast<std::ptrdiff_t>(a.reduce) * a.inner;
        y += a.inner;
    }
}

void reduce(const void* args, float* arena) noexcept RTRNN_NONBLOCKING {
    const ReduceArgs& a = *static_cast<const ReduceArgs*>(args);
    switch (a.kind) {
        case ReduceKind::sum: return reduce_kind<ReduceKind::sum>(a, arena);
        case ReduceKind::mean: return reduce_kind<ReduceKind::mean>(a, arena);
        case ReduceKind::max: return reduce_kind<ReduceKind::max>(a, arena);
        case ReduceKind::min: return reduce_kind<ReduceKind::min>(a, arena);
        case ReduceKind::count: return;
    }
}

void softmax(const void* args, float* arena) noexcept RTRNN_NONBLOCKING {
    const SoftmaxArgs& a = *static_cast<const SoftmaxArgs*>(args);
    const float* x = resolve(a.x, arena);
    float* y = arena + a.y.offset;
    for (int row = 0; row < a.rows; ++row) {
        const Native largest = Native::splat(reduce_row<ReduceKind::max>(x, a.n, Same{}));
        for (int i = 0; i < a.n; i += Native::lanes) {
            store_up_to(y + i, a.n - i, exp(load_up_to<Native>(x + i, a.n - i) - largest));
        }
        const Native sum = Native::splat(reduce_row<ReduceKind::sum>(y, a.n, Same{}));
        for (int i = 0; i < a.n; i += Native::lanes) {
            store_up_to(y + i, a.n - i, load_up_to<Native>(y + i, a.n - i) / sum);
        }
        x += a.n;
        y += a.n;
    }
}

struct SquaredDistance {
    float mean;
    template <class V>
    [[gnu::always_inline]] inline V operator()(V x) const {
        const V d = x - V::splat(mean);
        return d * d;
    }
};

void layer_norm(const void* args, float* arena) noexcept RTRNN_NONBLOCKING {
    const LayerNormArgs& a = *static_cast<const LayerNormArgs*>(args);
    const float* x = resolve(a.x, arena);
    float* y = arena + a.y.offset;
    const float count = static_cast<float>(a.n);
    for (int row = 0; row < a.rows; ++row) {
        const float mean = reduce_row<ReduceKind::sum>(x, a.n, Same{}) / count;
        const float variance = reduce_row<ReduceKind::sum>(x, a.n, SquaredDistance{mean}) / count;
        const Native inverse = Native::splat(1.0f) / sqrt(Native::splat(variance + a.eps));
        for (int i = 0; i < a.n; i += Native::lanes) {
            const int left = a.n - i;
            Native value = (load_up_to<Native>(x + i, left) - Native::splat(mean)) * inverse;
            const Native weight = a.weight == nullptr ? Native::splat(1.0f) : load_up_to<Native>(a.weight + i, left);
            const Native bias = a.bias == nullptr ? Native::splat(0.0f) : load_up_to<Native>(a.bias + i, left);
            store_up_to(y + i, left, fma(value, weight, bias));
        }
        x += a.n;
        y += a.n;
    }
}
