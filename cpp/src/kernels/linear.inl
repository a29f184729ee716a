// y = f(W x + b) for one or several x.
// Included inside the anonymous namespace of an ISA unit, after panels.inl and activation.inl.

template <class V>
[[gnu::always_inline]] inline void store_activated(const LinearArgs& a, float* y, int row, V sum) {
    if (a.activation.kind != UnaryKind::identity) activate(a.activation, sum);
    store_up_to(y + row, a.rows - row, sum);
}

template <class Products, class V>
void linear_tiles(const LinearArgs& a, float* arena) {
    float* y = arena + a.y.offset;
    typename Products::template Rows<1, 4, V> rows;
    rows.begin(a.weight, resolve(a.x, arena), a.cols, arena + a.x_quantized.offset);
    for (int row = 0; row < a.rows; row += V::lanes) store_activated(a, y, row, rows.next(a.bias + row).gate[0]);
}

// `count` <= panel_turn vectors. Tiles of one vector of rows go in pairs.
template <class V>
void linear_turn(const LinearArgs& a, const Operands& x, float* y, std::ptrdiff_t y_stride, int count) {
    constexpr int pair = V::lanes <= Native::lanes ? 2 : 1;
    alignas(64) float sums[panel_block * pair * V::lanes];
    for (int row = 0; row < a.rows;) {
        const int tiles = row + V::lanes < a.rows ? pair : 1;
        for (int first = 0; first < count; first += panel_block) {
            const int n = count - first < panel_block ? count - first : panel_block;
            const Operands block = operands_from(x, first);
            if (tiles == pair) {
                tile_sums<1, 4, pair, V>(a.weight, row / V::lanes, block, a.cols, a.bias + row, sums, pair * V::lanes, n);
            } else {
                tile_sums<1, 4, 1, V>(a.weight, row / V::lanes, block, a.cols, a.bias + row, sums, pair * V::lanes, n);
            }
            for (int i = 0; i < n; ++i) {
                for (int t = 0; t < tiles; ++t) {
                    store_activated(a, y + (first + i) * y_stride, row + t * V::lanes, V::load(sums + (i * pair + t) * V::lanes));
                }
            }
        }
        row += tiles * V::lanes;
    }
}

// `room` takes quantised operands, `room_stride` apart.
template <class V>
void linear_panels(const LinearArgs& a, const float* x, std::ptrdiff_t x_stride, float* y, std::ptrdiff_t y_stride, float* room,
                   std::ptrdiff_t room_stride, int count) {
    // The rows of one arena share the room of one operand.
    const int turn = a.weight.precision >= Precision::i16 && room_stride == 0 ? 1 : panel_turn;
    for (int first = 0; first < count; first += turn) {
        const int n = count - first < turn ? count - first : turn;
        TurnOperands operands;
        const Operands xs = operands.begin(a.weight, x + first * x_stride, x_stride, a.cols, room + first * room_stride, room_stride, n);
        linear_turn<V>(a, xs, y + first * y_stride, y_stride, n);
    }
}

template <class Products, class V>
void linear_rows(const LinearArgs& a, float* arena) {
    if (a.batch == 1) return linear_tiles<Products, V>(a, arena);
    linear_panels<V>(a, resolve(a.x, arena), a.cols, arena + a.y.offset, a.rows, arena + a.x_quantized.offset, 0, a.batch);
}

template <class Products>
void linear(const void* args, float* arena) noexcept RTRNN_NONBLOCKING {
    const LinearArgs& a = *static_cast<const LinearArgs*>(args);
    switch (a.width) {
        case 8: return linear_rows<Products, Width8>(a, arena);
        case 16: return linear_rows<Products, Width16>(a, arena);
        default: return linear_rows<Products, Width32>(a, arena);
    }
}
