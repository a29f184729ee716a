// One tile's sums (TileSums in kernels.hpp) of a matrix of 16-bit or 8-bit integers. The scales leave room for every sum in
// 32 bits (plan/packing), so products are added exactly and their order cannot be seen; then, per row,
//   fma(float(sum), scale * unit, bias).
// Included inside the anonymous namespace of an ISA unit, after vector.inl and the name register_lanes.

// Sums that are formed beside each other, so that one does not wait for the other; they take half the registers at most.
template <int gates, class V>
constexpr int integer_partials = register_lanes >= 1 << 20 ? 1
                                 : gates * V::lanes * 8 <= register_lanes ? 4
                                 : gates * V::lanes * 4 <= register_lanes ? 2
                                                                          : 1;

template <class W, int gates, class V>
void integer_tile(const Matrix& m, std::int32_t tile, const Operand& x, std::int32_t cols, const float* bias, float* sums) noexcept RTRNN_NONBLOCKING {
    using Int = typename V::Int;
    constexpr int partials = integer_partials<gates, V>;
    constexpr int pair = gates * V::lanes * 2;   // weights
    int pairs = (cols + 1) / 2;
    const W* weights = static_cast<const W*>(m.weights) + static_cast<std::ptrdiff_t>(tile) * pairs * pair;
    const std::int16_t* values = static_cast<const std::int16_t*>(x.values);
    Int sum[gates][partials];
    Repeat<gates>::call([&](auto g) {
        Repeat<partials>::call([&](auto p) { sum[g.value][p.value] = Int::zero(); });
    });
    const auto add_pair = [&](auto p) __attribute__((always_inline)) {
        const auto xs = V::splat_pair(values + 2 * p.value);
        Repeat<gates>::call([&](auto g) {
            const auto w = V::load_pairs(weights + p.value * pair + g.value * V::lanes * 2);
            sum[g.value][p.value] = add_products(sum[g.value][p.value], w, xs);
        });
    };
    for (; pairs >= partials; pairs -= partials) {
        Repeat<partials>::call(add_pair);
        weights += partials * pair;
        values += 2 * partials;
    }
    Repeat<partials - 1>::call([&](auto p) {
        if (p.value < pairs) add_pair(p);
    });
    const V unit = V::splat(x.unit);
    const float* scale = m.scale + tile * gates * V::lanes;
    Repeat<gates>::call([&](auto g) {
        Int total = sum[g.value][0];
        Repeat<partials - 1>::call([&](auto p) { total = total + sum[g.value][p.value + 1]; });
        const V factor = V::load(scale + g.value * V::lanes) * unit;
        store(sums + g.value * V::lanes, fma(to_float(total), factor, V::load(bias + g.value * V::lanes)));
    });
}

template <class W, int gates>
constexpr void set_integer_shape(TileSums (&row)[tile_widths]) {
    row[0] = integer_tile<W, gates, Width8>;
    row[1] = integer_tile<W, gates, Width16>;
    row[2] = integer_tile<W, gates, Width32>;
}

template <class W>
constexpr TileTable integer_tiles() {
    TileTable table{};
    table.group = 2;
    set_integer_shape<W, 1>(table.sums[static_cast<int>(TileShape::linear)]);
    set_integer_shape<W, 1>(table.sums[static_cast<int>(TileShape::reset)]);
    set_integer_shape<W, 2>(table.sums[static_cast<int>(TileShape::two)]);
    set_integer_shape<W, 3>(table.sums[static_cast<int>(TileShape::three)]);
    set_integer_shape<W, 4>(table.sums[static_cast<int>(TileShape::four)]);
    return table;
}
