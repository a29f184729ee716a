// A tile of a matrix times several vectors: every weight that is loaded serves a few of them, which multiplies the arithmetic
// that a load pays for. Each sum is formed in the order of sums.inl, so that nobody can tell how many were formed together.
// Included inside the anonymous namespace of an ISA unit, after products.inl.

// Vectors to multiply by, `stride` apart: floats, and for a matrix of integers (Operand in kernels.hpp) their quantised form.
struct Operands {
    const float* x;
    const std::int16_t* quantized;
    const float* units;
    std::ptrdiff_t stride, quantized_stride;   // in floats; in 16-bit integers

    [[gnu::always_inline]] inline Operand at(std::ptrdiff_t i) const {
        if (quantized != nullptr) return {quantized + i * quantized_stride, units[i]};
        return {x + i * stride, 1.0f};
    }
};

// One column's share in the sums of a panel.
template <int rows, int count, class V, class W>
[[gnu::always_inline]] inline void add_panel_column(V (&sum)[rows][count], const W* weights, std::ptrdiff_t row_step, const float* const (&operand)[count], int col) {
    V w[rows];
    Repeat<rows>::call([&](auto r) { w[r.value] = load_weights<V>(weights + r.value * row_step); });
    Repeat<count>::call([&](auto i) {
        const V xs = V::splat(operand[i.value][col]);
        Repeat<rows>::call([&](auto r) { sum[r.value][i.value] = fma(w[r.value], xs, sum[r.value][i.value]); });
    });
}

// The sums of `rows` hardware vectors of rows, `row_step` weights apart in a column, for each of `count` operands.
// sums: for each operand, `sums_stride` floats apart, the rows' side by side.
template <int partials, int rows, int count, class V, class W>
[[gnu::noinline]] void panel(const W* weights, std::ptrdiff_t row_step, std::ptrdiff_t col_step, const float* bias, const float* x,
                             std::ptrdiff_t x_stride, int cols, float* sums, std::ptrdiff_t sums_stride) {
    const float* operand[count];
    Repeat<count>::call([&](auto i) { operand[i.value] = x + i.value * x_stride; });
    int col = 0;
    do {
        const bool first = col == 0;
        const int end = cols - col < chain_length * partials ? cols : col + chain_length * partials;
        V sum[partials][rows][count];
        Repeat<rows>::call([&](auto r) {
            const V start = first ? V::load(bias + r.value * V::lanes) : V::splat(0.0f);
            Repeat<count>::call([&](auto i) {
                sum[0][r.value][i.value] = start;
                Repeat<partials - 1>::call([&](auto p) { sum[p.value + 1][r.value][i.value] = V::splat(0.0f); });
            });
        });
        for (; col + partials <= end; col += partials) {
            Repeat<partials>::call([&](auto p) { add_panel_column(sum[p.value], weights + p.value * col_step, row_step, operand, col + p.value); });
            weights += partials * col_step;
        }
        Repeat<partials - 1>::call([&](auto p) {
            if (col + p.value < end) add_panel_column(sum[p.value], weights + p.value * col_step, row_step, operand, col + p.value);
        });
        col = end;
        Repeat<count>::call([&](auto i) {
            Repeat<rows>::call([&](auto r) {
                V parts[partials];
                Repeat<partials>::call([&](auto p) { parts[p.value] = sum[p.value][r.value][i.value]; });
                float* const total = sums + i.value * sums_stride + r.value * V::lanes;
                const V value = add_partials(parts);
                store(total, first ? value : V::load(total) + value);
            });
        });
    } while (col < cols);
}

// How many vectors of rows, of the n that there are, and how many operands a panel takes: as many sums as leave a quarter of
// the registers to weights and operands. None where there are no vector registers.
template <class V>
constexpr int panel_sums = register_lanes >= 1 << 20 ? 0 : register_lanes / V::lanes >= 32 ? 24 : register_lanes * 3 / 4 / V::lanes;

template <int n, int partials, class V>
constexpr int panel_rows = n % 3 == 0 && 3 * partials * 2 <= panel_sums<V>   ? 3
                           : n % 4 == 0 && 4 * partials * 3 <= panel_sums<V> ? 4
                           : n % 2 == 0 && 2 * partials * 2 <= panel_sums<V> ? 2
                                                                             : 1;
template <int rows, int partials, class V>
constexpr int panel_count = panel_sums<V> / (rows * partials) >= 4 ? 4 : panel_sums<V> / (rows * partials);

// The vectors of rows that a tile of `V` consists of.
template <class V, bool fits = (V::lanes <= Native::lanes)>
struct Piece {
    using Type = V;
};
template <class V>
struct Piece<V, false> {
    using Type = Native;
};

// Sums of `tiles` tiles that lie one behind the other, for as many operands as make whole panels; returns how many.
template <int gates, int partials, int tiles, class V, class W>
int whole_panels(const W* weights, const float* bias, const Operands& x, int cols, float* sums, std::ptrdiff_t sums_stride, int count) {
    using P = typename Piece<V>::Type;
    constexpr int per_tile = gates * V::lanes / P::lanes;
    static_assert(tiles == 1 || per_tile == 1, "the rows of a panel are evenly spaced");
    constexpr int rows = panel_rows<per_tile * tiles, partials, P>, together = panel_count<rows, partials, P>;
    if constexpr (together < 2) return 0;   // no gain
    else {
        const std::ptrdiff_t row_step = tiles == 1 ? P::lanes : static_cast<std::ptrdiff_t>(cols) * V::lanes;
        int done = 0;
        for (; done + together <= count; done += together) {
            for (int r = 0; r < per_tile * tiles; r += rows) {
                panel<partials, rows, together, P>(weights + r * row_step, row_step, gates * V::lanes, bias + r * P::lanes,
                                                   x.x + done * x.stride, x.stride, cols, sums + done * sums_stride + r * P::lanes, sums_stride);
            }
        }
        return done;
    }
}

// For each of `count` operands the sums of `tiles` tiles from `tile` on, [tile][gate][lane], `sums_stride` apart.
template <int gates, int partials, int tiles, class V>
void tile_sums(const Matrix& m, int tile, const Operands& x, int cols, const float* bias, float* sums, std::ptrdiff_t sums_stride, int count) {
    constexpr int tile_rows = gates * V::lanes;
    const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(tile) * tile_rows * cols;
    int done = 0;
    switch (m.precision) {
        case Precision::f32:
            done = whole_panels<gates, partials, tiles, V>(static_cast<const float*>(m.weights) + at, bias, x, cols, sums, sums_stride, count);
            break;
        case Precision::f16:
            done = whole_panels<gates, partials, tiles, V>(static_cast<const Half*>(m.weights) + at, bias, x, cols, sums, sums_stride, count);
            break;
        case Precision::bf16:
            done = whole_panels<gates, partials, tiles, V>(static_cast<const BrainFloat*>(m.weights) + at, bias, x, cols, sums, sums_stride, count);
            break;
        default: break;   // integers: their weights are small, and stay in L1 from one operand to the next
    }
    for (; done < count; ++done) {
        for (int t = 0; t < tiles; ++t) {
            m.sums(m, tile + t, x.at(done), cols, bias + t * tile_rows, sums + done * sums_stride + t * tile_rows);
        }
    }
}

// Operands whose units fit on the stack, and whose sums do: work on more goes in turns.
constexpr int panel_turn = 64, panel_block = 12;

// The operands of one matrix in `count` <= panel_turn places, `stride` floats apart; those of integers are quantised into `room`,
// which lies `stride` apart too.
struct TurnOperands {
    float units[panel_turn];

    [[gnu::always_inline]] inline Operands begin(const Matrix& m, const float* x, std::ptrdiff_t x_stride, int size, float* room,
                                                 std::ptrdiff_t stride, int count) {
        if (m.precision < Precision::i16) return {x, nullptr, nullptr, x_stride, 0};
        const float limit = m.precision == Precision::i8_state ? quantized_limit_8 : quantized_limit;
        for (int i = 0; i < count; ++i) {
            std::int16_t* const values = reinterpret_cast<std::int16_t*>(room + i * stride);
            units[i] = quantize(x + i * x_stride, size, limit, values).unit;
            if (m.arrange != nullptr) m.arrange(values, size);
        }
        return {x, reinterpret_cast<const std::int16_t*>(room), units, x_stride, 2 * stride};
    }
};

[[gnu::always_inline]] inline Operands operands_from(const Operands& x, std::ptrdiff_t first) {
    return {x.x + first * x.stride, x.quantized == nullptr ? nullptr : x.quantized + first * x.quantized_stride,
            x.units == nullptr ? nullptr : x.units + first, x.stride, x.quantized_stride};
}
