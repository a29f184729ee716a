// Rows of a matrix times a vector, as many rows side by side as V has lanes. The order in which one row
// is summed depends on its length alone and is fixed here, for every ISA:
//   columns go round-robin into `partials` sums, each a chain of at most 32 fused multiply-adds;
//   32 * partials columns are a block; its partial sums are added as p0 + p1 or (p0 + p1) + (p2 + p3);
//   the first block's p0 starts at the bias, every other sum at +0; blocks are added in order.
// Included inside the anonymous namespace of an ISA unit, after vector.inl.

constexpr int chain_length = 32;

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

// weights: this tile's [col][gate][lane]; bias: [gate][lane].
template <int gates, int partials, class V>
[[gnu::always_inline]] inline Sums<V, gates> row_sums(const float* weights, const float* bias, const float* x, int cols) {
    constexpr int block_length = chain_length * partials;
    constexpr int column_floats = gates * V::lanes;
    Sums<V, gates> total;
    Repeat<gates>::call([&](auto g) { total.gate[g.value] = V::splat(0.0f); });
    for (int begin = 0;;) {
        V sum[gates][partials];
        Repeat<gates>::call([&](auto g) {
            Repeat<partials>::call([&](auto p) { sum[g.value][p.value] = V::splat(0.0f); });
            if (begin == 0) sum[g.value][0] = V::load(bias + g.value * V::lanes);
        });
        const int end = cols - begin < block_length ? cols : begin + block_length;
        int col = begin;
        for (; col + partials <= end; col += partials) {
            Repeat<partials>::call([&](auto p) {
                const V xs = V::splat(x[col + p.value]);
                Repeat<gates>::call([&](auto g) {
                    const V w = V::load(weights + p.value * column_floats + g.value * V::lanes);
                    sum[g.value][p.value] = fma(w, xs, sum[g.value][p.value]);
                });
            });
            weights += partials * column_floats;
        }
        Repeat<partials - 1>::call([&](auto p) {
            if (col + p.value >= end) return;
            const V xs = V::splat(x[col + p.value]);
            Repeat<gates>::call([&](auto g) {
                const V w = V::load(weights + p.value * column_floats + g.value * V::lanes);
                sum[g.value][p.value] = fma(w, xs, sum[g.value][p.value]);
            });
        });
        Repeat<gates>::call([&](auto g) {
            const V value = add_partials(sum[g.value]);
            total.gate[g.value] = begin == 0 ? value : total.gate[g.value] + value;
        });
        if (end >= cols) return total;
        begin = end;
    }
}
