// One tile's sums (TileSums in kernels.hpp) of a matrix stored in f32, f16 or bf16, in the order of sums.inl.
// Included inside the anonymous namespace of an ISA unit, after sums.inl.

template <class W, int gates, int partials, class V>
void float_tile(const Matrix& m, std::int32_t tile, const Operand& x, std::int32_t cols, const float* bias, float* sums) noexcept RTRNN_NONBLOCKING {
    const W* weights = static_cast<const W*>(m.weights) + static_cast<std::ptrdiff_t>(tile) * cols * gates * V::lanes;
    store_sums(sums, row_sums<gates, partials, V>(weights, bias, static_cast<const float*>(x.values), cols));
}

template <class W, class W8, class W16, class W32, int gates, int partials>
constexpr void set_float_shape(TileSums (&row)[tile_widths]) {
    row[0] = float_tile<W, gates, partials, W8>;
    row[1] = float_tile<W, gates, partials, W16>;
    row[2] = float_tile<W, gates, partials, W32>;
}

// W8, W16, W32: the vectors to use for each width.
template <class W, class W8 = Width8, class W16 = Width16, class W32 = Width32>
constexpr TileTable float_tiles() {
    TileTable table{};
    table.group = 1;
    set_float_shape<W, W8, W16, W32, 1, 4>(table.sums[static_cast<int>(TileShape::linear)]);
    set_float_shape<W, W8, W16, W32, 1, 2>(table.sums[static_cast<int>(TileShape::reset)]);
    set_float_shape<W, W8, W16, W32, 2, 2>(table.sums[static_cast<int>(TileShape::two)]);
    set_float_shape<W, W8, W16, W32, 3, 2>(table.sums[static_cast<int>(TileShape::three)]);
    set_float_shape<W, W8, W16, W32, 4, 2>(table.sums[static_cast<int>(TileShape::four)]);
    return table;
}
