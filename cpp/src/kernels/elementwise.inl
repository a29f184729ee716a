// Elementwise kernels. y may be x itself; otherwise they do not overlap.
// Included inside the anonymous namespace of an ISA unit, after activation.inl.

void unary(const void* args, float* arena) noexcept RTRNN_NONBLOCKING {
    const UnaryArgs& a = *static_cast<const UnaryArgs*>(args);
    const float* x = resolve(a.x, arena);
    float* y = arena + a.y.offset;
    const Native alpha = Native::splat(a.activation.alpha);
    const Native beta = Native::splat(a.activation.beta);
    with_unary_kind(a.activation.kind, [&](auto tag) {
        for (int i = 0; i < a.n; i += Native::lanes) {
            const Native value = apply_unary<decltype(tag)::kind>(load_up_to<Native>(x + i, a.n - i), alpha, beta);
            store_up_to(y + i, a.n - i, value);
        }
    });
}

template <BinaryKind kind, class V>
[[gnu::always_inline]] inline V apply_binary(V a, V b) {
    if constexpr (kind == BinaryKind::add) return a + b;
    if constexpr (kind == BinaryKind::sub) return a - b;
    if constexpr (kind == BinaryKind::mul) return a * b;
    if constexpr (kind == BinaryKind::div) return a / b;
    if constexpr (kind == BinaryKind::min) return min_nan(a, b);
    if constexpr (kind == BinaryKind::max) return max_nan(a, b);
    if constexpr (kind == BinaryKind::pow) return pow(a, b);
}

template <BinaryKind kind>
[[gnu::always_inline]] inline void binary_loop(const BinaryArgs& args, float* arena) {
    const float* a = resolve(args.a, arena);
    const float* b = resolve(args.b, arena);
    float* y = arena + args.y.offset;
    for (int outer = 0; outer < args.outer; ++outer) {
        for (int i = 0; i < args.n; i += Native::lanes) {
            const int left = args.n - i;
            const Native av = args.a_inner == 0 ? Native::splat(*a) : load_up_to<Native>(a + i, left);
            const Native bv = args.b_inner == 0 ? Native::splat(*b) : load_up_to<Native>(b + i, left);
            store_up_to(y + i, left, apply_binary<kind>(av, bv));
        }
        a += args.a_outer;
        b += args.b_outer;
        y += args.n;
    }
}

void binary(const void* args, float* arena) noexcept RTRNN_NONBLOCKING {
    const BinaryArgs& a = *static_cast<const BinaryArgs*>(args);
    switch (a.kind) {
        case BinaryKind::add: return binary_loop<BinaryKind::add>(a, arena);
        case BinaryKind::sub: return binary_loop<BinaryKind::sub>(a, arena);
        case BinaryKind::mul: return binary_loop<BinaryKind::mul>(a, arena);
        case BinaryKind::div: return binary_loop<BinaryKind::div>(a, arena);
        case BinaryKind::min: return binary_loop<BinaryKind::min>(a, arena);
        case BinaryKind::max: return binary_loop<BinaryKind::max>(a, arena);
        case BinaryKind::pow: return binary_loop<BinaryKind::pow>(a, arena);
        case BinaryKind::count: return;
    }
}

void normalize(const void* args, float* arena) noexcept RTRNN_NONBLOCKING {
    const NormalizeArgs& a = *static_cast<const NormalizeArgs*>(args);
    const float* x = resolve(a.x, arena);
    float* y = arena + a.y.offset;
    for (int i = 0; i < a.n; i += Native::lanes) {
        const int left = a.n - i;
        const Native centred = load_up_to<Native>(x + i, left) - load_up_to<Native>(a.mean + i, left);
        store_up_to(y + i, left, centred * load_up_to<Native>(a.scale + i, left));
    }
}

void gather(const void* args, float* arena) noexcept RTRNN_NONBLOCKING {
    const GatherArgs& a = *static_cast<const GatherArgs*>(args);
    const float* x = resolve(a.x, arena);
    float* y = arena + a.y.offset;
    for (int i = 0; i < a.n; ++i) y[i] = x[a.index[i]];
}

void copy(const void* args, float* arena) noexcept RTRNN_NONBLOCKING {
    const CopyArgs& a = *static_cast<const CopyArgs*>(args);
    const float* x = resolve(a.x, arena);
    float* y = arena + a.y.offset;
    for (int i = 0; i < a.n; i += Native::lanes) {
        store_up_to(y + i, a.n - i, load_up_to<Native>(x + i, a.n - i));
    }
}
