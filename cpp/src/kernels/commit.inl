// The two ends of a step: the input is taken, what has been computed becomes visible; nothing that is not finite passes.
// A load that reaches beyond the store that wrote its data has to wait until that is in the cache. So vectors that may be short are
// read in the narrowest width that a kernel writes them in. Few instructions: in a small network the next step's sums begin while
// these still wait for the state, if the CPU can look that far ahead.
// Included inside the anonymous namespace of an ISA unit, after vector.inl.

using Line = Pair<Width8>;   // of the cache

// As integers the bits of |x| are in the order of the values, with infinity and then NaN on top.
template <class V>
[[gnu::always_inline]] inline V max_magnitudes(V seen, V x) { return max_bits(seen, abs(x)); }

template <class V>
[[gnu::always_inline]] inline bool is_finite(V magnitudes) { return all(magnitudes <= V::splat(3.40282347e+38f)); }

bool all_finite(const float* x, std::size_t n) noexcept RTRNN_NONBLOCKING {
    Line seen = Line::splat(0.0f);
    std::size_t i = 0;
    for (; i + Line::lanes <= n; i += Line::lanes) seen = max_magnitudes(seen, Line::load(x + i));
    if (i < n) seen = max_magnitudes(seen, Line::load_partial(x + i, static_cast<int>(n - i)));
    return is_finite(seen);
}

bool take(const float* x, float* y, std::size_t n) noexcept RTRNN_NONBLOCKING {
    Width8 seen = Width8::splat(0.0f);
    for (; n >= 8; n -= 8, x += 8, y += 8) {
        const Width8 value = Width8::load(x);
        store(y, value);
        seen = max_magnitudes(seen, value);
    }
    if (n > 0) {
        const Width8 value = Width8::load_partial(x, static_cast<int>(n));
        store_partial(y, static_cast<int>(n), value);
        seen = max_magnitudes(seen, value);
    }
    return is_finite(seen);
}

bool commit(const CommitArgs& a, float* arena, float* y, bool check) noexcept RTRNN_NONBLOCKING {
    Line seen = Line::splat(0.0f);
    for (const float *x = arena + a.outputs.offset, *end = x + a.outputs.size; x != end; x += Line::lanes)
        seen = max_magnitudes(seen, Line::load(x));
    for (const float *x = arena + a.states.offset, *end = x + a.states.size; x != end; x += Line::lanes)
        seen = max_magnitudes(seen, Line::load(x));
    if (!is_finite(seen) && check) return false;
    const Transfer* t = a.transfers;
    const Transfer* const end = t + a.transfer_count;
    if (y != nullptr) {   // output 0, to both places at once
        const float* from = arena + t->from;
        float* to = arena + t->to;
        std::ptrdiff_t n = a.first_output;
        for (; n >= 8; n -= 8, from += 8, to += 8, y += 8) {
            const Width8 value = Width8::load(from);
            store(to, value);
            store(y, value);
        }
        if (n > 0) {
            const Width8 value = Width8::load(from);
            store(to, value);
            store_partial(y, static_cast<int>(n), value);
        }
        ++t;
    }
    for (; t != end; ++t) {
        const float* from = arena + t->from;
        float* to = arena + t->to;
        for (std::ptrdiff_t i = 0; i < t->size; i += Width8::lanes) store(to + i, Width8::load(from + i));
    }
    return true;
}
