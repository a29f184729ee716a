// A unary function chosen at run time, for one vector. What alpha and beta mean: cpp/README.md.
// Included inside the anonymous namespace of an ISA unit, after special.inl.

template <UnaryKind which>
struct UnaryTag {
    static constexpr UnaryKind kind = which;
};

template <class V>
[[gnu::always_inline]] inline V elu(V x, V alpha) {
    return select(V::splat(0.0f) < x, x, alpha * expm1_nonpositive(x));
}

template <UnaryKind kind, class V>
[[gnu::always_inline]] inline V apply_unary(V x, V alpha, V beta) {
    const V zero = V::splat(0.0f);
    const V one = V::splat(1.0f);
    if constexpr (kind == UnaryKind::identity) return x;
    if constexpr (kind == UnaryKind::neg) return negate(x);
    if constexpr (kind == UnaryKind::abs) return abs(x);
    if constexpr (kind == UnaryKind::sqrt) return sqrt(x);
    if constexpr (kind == UnaryKind::exp) return exp(x);
    if constexpr (kind == UnaryKind::log) return log(x);
    if constexpr (kind == UnaryKind::reciprocal) return one / x;
    if constexpr (kind == UnaryKind::sign) return select(zero < x, one, select(x < zero, V::splat(-1.0f), x));
    if constexpr (kind == UnaryKind::erf) return erf(x);
    if constexpr (kind == UnaryKind::floor) return floor(x);
    if constexpr (kind == UnaryKind::ceil) return negate(floor(negate(x)));
    if constexpr (kind == UnaryKind::relu) return max(zero, x);
    if constexpr (kind == UnaryKind::leaky_relu) return select(zero <= x, x, alpha * x);
    if constexpr (kind == UnaryKind::elu) return elu(x, alpha);
    if constexpr (kind == UnaryKind::selu) return beta * elu(x, alpha);
    if constexpr (kind == UnaryKind::celu) return select(zero < x, x, alpha * expm1_nonpositive(x / alpha));
    if constexpr (kind == UnaryKind::sigmoid) return sigmoid(x);
    if constexpr (kind == UnaryKind::tanh) return tanh(x);
    if constexpr (kind == UnaryKind::softplus) return softplus(x, alpha, beta);
    if constexpr (kind == UnaryKind::softsign) return x / (one + abs(x));
    if constexpr (kind == UnaryKind::gelu) return gelu(x);
    if constexpr (kind == UnaryKind::gelu_tanh) return gelu_tanh(x);
    if constexpr (kind == UnaryKind::silu) return swish(x, alpha * x);
    if constexpr (kind == UnaryKind::mish) return mish(x);
    if constexpr (kind == UnaryKind::hard_sigmoid) return min(one, max(zero, fma(alpha, x, beta)));
    if constexpr (kind == UnaryKind::hard_swish) {
        const V six = V::splat(6.0f);   // x + 3 is exact where the product is small
        return x * (min(six, max(zero, x + V::splat(3.0f))) / six);
    }
    if constexpr (kind == UnaryKind::thresholded_relu) return select(x <= alpha, zero, x);
    if constexpr (kind == UnaryKind::scaled_tanh) return alpha * tanh(beta * x);
    if constexpr (kind == UnaryKind::affine) return fma(alpha, x, beta);
    if constexpr (kind == UnaryKind::clip) return min(beta, max(alpha, x));
}

// Calls f with the kind as a constant: the one list of kinds, for loops and for single vectors.
template <class F>
[[gnu::always_inline]] inline void with_unary_kind(UnaryKind kind, const F& f) {
    switch (kind) {
        case UnaryKind::identity: return f(UnaryTag<UnaryKind::identity>{});
        case UnaryKind::neg: return f(UnaryTag<UnaryKind::neg>{});
        case UnaryKind::abs: return f(UnaryTag<UnaryKind::abs>{});
        case UnaryKind::sqrt: return f(UnaryTag<UnaryKind::sqrt>{});
        case UnaryKind::exp: return f(UnaryTag<UnaryKind::exp>{});
        case UnaryKind::log: return f(UnaryTag<UnaryKind::log>{});
        case UnaryKind::reciprocal: return f(UnaryTag<UnaryKind::reciprocal>{});
        case UnaryKind::sign: return f(UnaryTag<UnaryKind::sign>{});
        case UnaryKind::erf: return f(UnaryTag<UnaryKind::erf>{});
        case UnaryKind::floor: return f(UnaryTag<UnaryKind::floor>{});
        case UnaryKind::ceil: return f(UnaryTag<UnaryKind::ceil>{});
        case UnaryKind::relu: return f(UnaryTag<UnaryKind::relu>{});
        case UnaryKind::leaky_relu: return f(UnaryTag<UnaryKind::leaky_relu>{});
        case UnaryKind::elu: return f(UnaryTag<UnaryKind::elu>{});
        case UnaryKind::selu: return f(UnaryTag<UnaryKind::selu>{});
        case UnaryKind::celu: return f(UnaryTag<UnaryKind::celu>{});
        case UnaryKind::sigmoid: return f(UnaryTag<UnaryKind::sigmoid>{});
        case UnaryKind::tanh: return f(UnaryTag<UnaryKind::tanh>{});
        case UnaryKind::softplus: return f(UnaryTag<UnaryKind::softplus>{});
        case UnaryKind::softsign: return f(UnaryTag<UnaryKind::softsign>{});
        case UnaryKind::gelu: return f(UnaryTag<UnaryKind::gelu>{});
        case UnaryKind::gelu_tanh: return f(UnaryTag<UnaryKind::gelu_tanh>{});
        case UnaryKind::silu: return f(UnaryTag<UnaryKind::silu>{});
        case UnaryKind::mish: return f(UnaryTag<UnaryKind::mish>{});
        case UnaryKind::hard_sigmoid: return f(UnaryTag<UnaryKind::hard_sigmoid>{});
        case UnaryKind::hard_swish: return f(UnaryTag<UnaryKind::hard_swish>{});
        case UnaryKind::thresholded_relu: return f(UnaryTag<UnaryKind::thresholded_relu>{});
        case UnaryKind::scaled_tanh: return f(UnaryTag<UnaryKind::scaled_tanh>{});
        case UnaryKind::affine: return f(UnaryTag<UnaryKind::affine>{});
        case UnaryKind::clip: return f(UnaryTag<UnaryKind::clip>{});
        case UnaryKind::count: return;
    }
}

// In place, on whole vectors. Not inlined: one copy per width instead of one per gate of every cell.
template <class V>
[[gnu::noinline]] void activate(const Activation& activation, V& x) {
    const V alpha = V::splat(activation.alpha);
    const V beta = V::splat(activation.beta);
    with_unary_kind(activation.kind, [&](auto tag) {
        x = apply_unary<decltype(tag)::kind>(x, alpha, beta);
    });
}
