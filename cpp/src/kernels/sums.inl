// Rows of a matrix times a vector, as many rows side by side as V has lanes. The order in which one row
// is summed depends on its length alone and is fixed here, for every ISA:
//   columns go round-robin into `partials` sums, each a chain of at most 32 fused multiply-adds;
//   32 * partials columns are a block; its partial sums are added as p0 + p1 or (p0 + p1) + (p2 + p3);
//   the first block's p0 starts at the bias, every other sum at +0; blocks are added in order.
// Weights may be stored in f32, f16 or bf16: they are widened, exactly, as they are read.
// Included inside the anonymous namespace of an ISA unit, after vector.inl.

constexpr int chain_length = 32;

// Weights in 16 bits.
struct Half {
    std::uint16_t bits;
};
struct BrainFloat {
    std::uint16_t bits;
};

template <class V>
[[gnu::always_inline]] inline V load_weights(const float* p) { return V::load(p); }
template <class V>
[[gnu::always_inline]] inline V load_weights(const Half* p) { return V::load_half(&p->bits); }
template <class V>
[[gnu::always_inline]] inline V load_weights(const BrainFloat* p) { return V::load_brain_float(&p->bits); }

// One array of vectors per gate; indexed by constants only.
template <class V, int gates>
struct Sums {
    V gate[gates];
};

template <class V, int partials>
[[gnu::always_inline]] inline V add_partials(const V (&p)[partials]) {
    if constexpr (partials == 2) return p[0] + p[1];
    if constexpr (partials == 4) return (p[0] + p[1]) + (p[2] + p[3]);
}

// One column's share in the sums of every gate; `weights` and `x` are at the first of `partials`
// columns, of which this is number p.
template <int gates, int partials, class V, class W, class P>
[[gnu::always_inline]] inline void add_column(V (&sum)[gates][partials], const W* weights, const float* x, P p) {
    const V xs = V::splat(x[p.value]);
    Repeat<gates>::call([&](auto g) {
        const V w = load_weights<V>(weights + (p.value * gates + g.value) * V::lanes);
        sum[g.value][p.value] = fma(w, xs, sum[g.value][p.value]);
    });
}

// The value of one block of `cols` columns; bias is null for all but the first.
template <int gates, int partials, class V, class W>
[[gnu::always_inline]] inline Sums<V, gates> block_sums(const W* weights, const float* bias, const float* x, int cols) {
    V sum[gates][partials];
    Repeat<gates>::call([&](auto g) {
        Repeat<partials>::call([&](auto p) { sum[g.value][p.value] = V::splat(0.0f); });
        if (bias != nullptr) sum[g.value][0] = V::load(bias + g.value * V::lanes);
    });
    for (int turns = cols / partials; turns > 0; --turns) {
        Repeat<partials>::call([&](auto p) { add_column(sum, weights, x, p); });
        weights += partials * gates * V::lanes;
        x += partials;
        // Keeps the compiler from working out ahead of the loop where they end: some thirty instructions, which short rows feel.
        asm("" : "+r"(weights), "+r"(x));
    }
    cols %= partials;
    Repeat<partials - 1>::call([&](auto p) {
        if (p.value < cols) add_column(sum, weights, x, p);
    });
    Sums<V, gates> value;
    Repeat<gates>::call([&](auto g) { value.gate[g.value] = add_partials(sum[g.value]); });
    return value;
}

// weights: this tile's [col][gate][lane]; bias: [gate][lane].
template <int gates, int partials, class V, class W>
[[gnu::always_inline]] inline Sums<V, gates> row_sums(const W* weights, const float* bias, const float* x, int cols) {
    constexpr int block = chain_length * partials;
    Sums<V, gates> total = block_sums<gates, partials, V>(weights, bias, x, cols < block ? cols : block);
    while (cols > block) {
        cols -= block;
        weights += block * gates * V::lanes;
        x += block;
        const Sums<V, gates> value = block_sums<gates, partials, V>(weights, nullptr, x, cols < block ? cols : block);
        Repeat<gates>::call([&](auto g) { total.gate[g.value] = total.gate[g.value] + value.gate[g.value]; });
    }
    return total;
}

template <int gates, class V>
[[gnu::always_inline]] inline void store_sums(float* p, const Sums<V, gates>& sums) {
    Repeat<gates>::call([&](auto g) { store(p + g.value * V::lanes, sums.gate[g.value]); });
}
template <int gates, class V>
[[gnu::always_inline]] inline Sums<V, gates> load_sums(const float* p) {
    Sums<V, gates> sums;
    Repeat<gates>::call([&](auto g) { sums.gate[g.value] = V::load(p + g.value * V::lanes); });
    return sums;
}

// row_sums out of line. When the sums of two matrices do not fit the registers together, the first ones are
// better kept in memory as a whole than spilt one by one inside the second one's loop.
template <int gates, int partials, class V>
[[gnu::noinline]] void row_sums_to(Sums<V, gates>& total, const float* weights, const float* bias, const float* x, int cols) {
    total = row_sums<gates, partials, V>(weights, bias, x, cols);
}

template <int gates, int partials, class V>
constexpr bool two_sums_fit = gates * (partials + 1) * V::lanes <= register_lanes;

// The sums that are kept while another matrix's are formed.
template <int gates, int partials, class V>
[[gnu::always_inline]] inline Sums<V, gates> kept_row_sums(const float* weights, const float* bias, const float* x, int cols) {
    if constexpr (two_sums_fit<gates, partials, V>) {
        return row_sums<gates, partials, V>(weights, bias, x, cols);
    } else {
        Sums<V, gates> total;
        row_sums_to<gates, partials, V>(total, weights, bias, x, cols);
        return total;
    }
}
