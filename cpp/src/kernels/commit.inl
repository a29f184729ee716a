// The two ends of a step: the input is taken, what has been computed becomes visible; nothing that is not finite passes.
// A load that reaches beyond the store that wrote its data has to wait until that is in the cache. So short vectors are read in the
// narrowest width that a kernel writes them in.
// Included inside the anonymous namespace of an ISA unit, after vector.inl.

constexpr std::size_t short_vector = 128;

// As integers the bits of |x| are in the order of the values, with infinity and then NaN on top.
template <class V>
[[gnu::always_inline]] inline bool is_finite(V magnitudes) {
    return largest_bits(magnitudes) < __builtin_inff();
}

template <class V>
[[gnu::always_inline]] inline V max_magnitudes(V seen, const float* x, std::size_t n) {
    std::size_t i = 0;
    for (; i + V::lanes <= n; i += V::lanes) seen = max_bits(seen, abs(V::load(x + i)));
    if (i < n) seen = max_bits(seen, abs(V::load_partial(x + i, static_cast<int>(n - i))));
    return seen;
}

template <class V>
[[gnu::always_inline]] inline V copy_vectors(const float* x, float* y, std::size_t n) {
    V seen = V::splat(0.0f);
    std::size_t i = 0;
    for (; i + V::lanes <= n; i += V::lanes) {
        const V value = V::load(x + i);
        seen = max_bits(seen, abs(value));
        store(y + i, value);
    }
    if (i < n) {
        const V value = V::load_partial(x + i, static_cast<int>(n - i));
        seen = max_bits(seen, abs(value));
        store_partial(y + i, static_cast<int>(n - i), value);
    }
    return seen;
}

bool all_finite(const float* x, std::size_t n) noexcept RTRNN_NONBLOCKING {
    const std::size_t wide = n <= short_vector ? 0 : n / Native::lanes * Native::lanes;
    const bool finite = wide == 0 || is_finite(max_magnitudes(Native::splat(0.0f), x, wide));
    return is_finite(max_magnitudes(Width8::splat(0.0f), x + wide, n - wide)) && finite;
}

bool take(const float* x, float* y, std::size_t n) noexcept RTRNN_NONBLOCKING { return is_finite(copy_vectors<Width8>(x, y, n)); }

bool commit(const CommitArgs& a, float* arena, float* y, bool check) noexcept RTRNN_NONBLOCKING {
    const auto outputs = static_cast<std::size_t>(a.outputs.size), states = static_cast<std::size_t>(a.states.size);
    if (outputs + states <= short_vector) {
        const Width8 seen = max_magnitudes(Width8::splat(0.0f), arena + a.outputs.offset, outputs);
        if (!is_finite(max_magnitudes(seen, arena + a.states.offset, states)) && check) return false;
    } else if (check && !(all_finite(arena + a.outputs.offset, outputs) && all_finite(arena + a.states.offset, states))) {
        return false;
    }
    if (y != nullptr) copy_vectors<Width8>(arena + a.transfers[0].from, y, static_cast<std::size_t>(a.first_output));
    for (std::int32_t i = 0; i < a.transfer_count; ++i) {
        const Transfer& t = a.transfers[i];
        for (std::int32_t k = 0; k < t.size; k += Width8::lanes) store(arena + t.to + k, Width8::load(arena + t.from + k));
    }
    return true;
}
