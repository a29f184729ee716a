// Cells and linear layers for many arenas at once, a tile of weights for all of them before the next one, so that weights are
// read once for a turn of arenas and a panel's multiply-adds share each load. Bits are those of the kernels for one arena.
// Forms of a cell besides theirs: input stores the input sums where prepare stores the recurrent ones.
// Included inside the anonymous namespace of an ISA unit, after cells.inl.

// Where the operand of arena 0 is, and how far it is to the next: nothing when it is a constant.
[[gnu::always_inline]] inline std::ptrdiff_t stride_of(const Ref& ref, std::ptrdiff_t stride) { return ref.base != nullptr ? 0 : stride; }

// The sums of one of a cell's matrices, tile by tile, for the arenas of a turn.
template <int gates, int partials, class V>
struct ManyRows {
    const Matrix* matrix;
    TurnOperands turn;
    Operands operands;
    int cols;

    void begin(const Matrix& m, const float* x, std::ptrdiff_t x_stride, int size, float* room, std::ptrdiff_t stride, int count) {
        matrix = &m;
        cols = size;
        operands = turn.begin(m, x, x_stride, size, room, stride, count);
    }
    void sums(int row, int first, int count, const float* bias, float* to, std::ptrdiff_t stride) const {
        tile_sums<gates, partials, 1, V>(*matrix, row / V::lanes, operands_from(operands, first), cols, bias, to, stride, count);
    }
};

template <class V>
constexpr int block_floats = panel_block * V::lanes;   // for each gate

// For each arena the sums of a tile, and their distance from one arena to the next.
struct BlockSums {
    float* at;
    std::ptrdiff_t stride;
};

template <class Cell, bool standard, class V>
void cell_turn(const CellArgs& a, Form form, float* arena, std::ptrdiff_t stride, int count) {
    constexpr int gates = Cell::gates;
    const bool forms_x = form != Form::prepare, forms_h = form != Form::finish && form != Form::input;
    const std::ptrdiff_t h_stride = stride_of(a.h, stride), c_stride = stride_of(a.c, stride);
    ManyRows<gates, Cell::partials, V> x_rows, h_rows;
    if (forms_x) {
        x_rows.begin(a.weight_ih, resolve(a.x, arena), stride_of(a.x, stride), a.input_size, arena + a.x_quantized.offset, stride, count);
    }
    if (forms_h) h_rows.begin(a.weight_hh, resolve(a.h, arena), h_stride, a.recurrent_size, arena + a.h_quantized.offset, stride, count);
    alignas(64) float x_block[gates * block_floats<V>], h_block[gates * block_floats<V>];
    for (int row = 0; row < a.hidden_size; row += V::lanes) {
        for (int first = 0; first < count; first += panel_block) {
            const int n = count - first < panel_block ? count - first : panel_block;
            float* const block = arena + first * stride;
            const BlockSums kept{block + a.prepared.offset + gates * row, stride};
            const BlockSums x = form == Form::input ? kept : BlockSums{x_block, gates * V::lanes};
            const BlockSums h = form == Form::step ? BlockSums{h_block, gates * V::lanes} : kept;
            if (forms_h) h_rows.sums(row, first, n, a.bias_hh + gates * row, h.at, h.stride);
            if (forms_x) x_rows.sums(row, first, n, a.bias_ih + gates * row, x.at, x.stride);
            if (form == Form::prepare || form == Form::input) continue;
            for (int i = 0; i < n; ++i) {
                float* const own = block + i * stride;
                const StateRefs state{resolve(a.h, arena) + (first + i) * h_stride + a.first_row, resolve(a.c, arena) + (first + i) * c_stride,
                                      own + a.h_out.offset, own + a.c_out.offset};
                Cell::template combine<standard>(a, state, row, load_sums<gates, V>(x.at + i * x.stride), load_sums<gates, V>(h.at + i * h.stride));
            }
        }
    }
}

// As gru_before_tiles: the second pass needs the reset of every row.
template <class V>
void gru_before_turn(const CellArgs& a, Form form, float* arena, std::ptrdiff_t stride, int count) {
    const bool forms_x = form != Form::prepare, forms_h = form != Form::finish && form != Form::input;
    const float* const h = resolve(a.h, arena);
    const std::ptrdiff_t h_stride = stride_of(a.h, stride);
    const int padded = (a.hidden_size + V::lanes - 1) / V::lanes * V::lanes;
    float* const reset_h = arena + a.scratch.offset;
    float* const update = reset_h + padded;
    float* const n_sums = update + padded;
    ManyRows<3, 2, V> x_rows;
    ManyRows<2, 2, V> h_rows;
    if (forms_x) {
        x_rows.begin(a.weight_ih, resolve(a.x, arena), stride_of(a.x, stride), a.input_size, arena + a.x_quantized.offset, stride, count);
    }
    if (forms_h) h_rows.begin(a.weight_hh, h, h_stride, a.recurrent_size, arena + a.h_quantized.offset, stride, count);
    alignas(64) float x_block[3 * block_floats<V>], h_block[2 * block_floats<V>];
    for (int row = 0; row < a.hidden_size; row += V::lanes) {
        for (int first = 0; first < count; first += panel_block) {
            const int n = count - first < panel_block ? count - first : panel_block;
            float* const kept = arena + first * stride + a.prepared.offset;
            const BlockSums x = form == Form::input ? BlockSums{kept + 3 * row, stride} : BlockSums{x_block, 3 * V::lanes};
            const BlockSums hs = form == Form::step ? BlockSums{h_block, 2 * V::lanes} : BlockSums{kept + 2 * row, stride};
            if (forms_h) h_rows.sums(row, first, n, a.bias_hh + 3 * row, hs.at, hs.stride);
            if (forms_x) x_rows.sums(row, first, n, a.bias_ih + 3 * row, x.at, x.stride);
            if (form == Form::prepare || form == Form::input) continue;
            for (int i = 0; i < n; ++i) {
                const std::ptrdiff_t own = (first + i) * stride + row;
                const Sums<V, 3> x_sums = load_sums<3, V>(x.at + i * x.stride);
                const Sums<V, 2> h_sums = load_sums<2, V>(hs.at + i * hs.stride);
                const V r = gate_value(a, 0, x_sums.gate[0] + h_sums.gate[0]);
                store(update + own, gate_value(a, 0, x_sums.gate[1] + h_sums.gate[1]));
                store(reset_h + own, r * load_up_to<V>(h + (first + i) * h_stride + row, a.hidden_size - row));
                store(n_sums + own, x_sums.gate[2]);
            }
        }
    }
    if (form == Form::prepare || form == Form::input) return;
    ManyRows<1, 2, V> reset_rows;
    reset_rows.begin(a.weight_hn, reset_h, stride, a.recurrent_size, arena + a.h_quantized.offset, stride, count);
    for (int row = 0; row < a.hidden_size; row += V::lanes) {
        for (int first = 0; first < count; first += panel_block) {
            const int n = count - first < panel_block ? count - first : panel_block;
            reset_rows.sums(row, first, n, a.bias_hh + 3 * row + 2 * V::lanes, h_block, V::lanes);
            for (int i = 0; i < n; ++i) {
                const std::ptrdiff_t own = (first + i) * stride + row;
                const V candidate = gate_value(a, 1, V::load(n_sums + own) + V::load(h_block + i * V::lanes));
                const V old = load_up_to<V>(h + (first + i) * h_stride + row, a.hidden_size - row);
                store_up_to(arena + a.h_out.offset + own, a.hidden_size - row, fma(V::load(update + own), old - candidate, candidate));
            }
        }
    }
}

struct GruBefore {};

template <class Cell, class V>
[[gnu::always_inline]] inline void turn_of_width(const CellArgs& a, Form form, float* arena, std::ptrdiff_t stride, int count) {
    if constexpr (__is_same(Cell, GruBefore)) {
        gru_before_turn<V>(a, form, arena, stride, count);
    } else if (a.standard) {
        cell_turn<Cell, true, V>(a, form, arena, stride, count);
    } else {
        cell_turn<Cell, false, V>(a, form, arena, stride, count);
    }
}

template <class Cell, Form form>
void many(const void* args, float* arena, std::ptrdiff_t stride, std::int32_t count) noexcept RTRNN_NONBLOCKING {
    const CellArgs& a = *static_cast<const CellArgs*>(args);
    for (; count > 0; count -= panel_turn) {
        const int n = count < panel_turn ? count : panel_turn;
        switch (a.width) {
            case 8: turn_of_width<Cell, Width8>(a, form, arena, stride, n); break;
            case 16: turn_of_width<Cell, Width16>(a, form, arena, stride, n); break;
            default: turn_of_width<Cell, Width32>(a, form, arena, stride, n);
        }
        arena += n * stride;
    }
}

// The rows of a batch within one arena are many already.
template <class Products>
void many_linear(const void* args, float* arena, std::ptrdiff_t stride, std::int32_t count) noexcept RTRNN_NONBLOCKING {
    const LinearArgs& a = *static_cast<const LinearArgs*>(args);
    if (a.batch > 1) {
        for (int i = 0; i < count; ++i) linear<Products>(args, arena + i * stride);
        return;
    }
    const float* const x = resolve(a.x, arena);
    const std::ptrdiff_t x_stride = stride_of(a.x, stride);
    float* const room = arena + a.x_quantized.offset;
    switch (a.width) {
        case 8: return linear_panels<Width8>(a, x, x_stride, arena + a.y.offset, stride, room, stride, count);
        case 16: return linear_panels<Width16>(a, x, x_stride, arena + a.y.offset, stride, room, stride, count);
        default: return linear_panels<Width32>(a, x, x_stride, arena + a.y.offset, stride, room, stride, count);
    }
}

template <class Cell>
constexpr ManyCellKernels many_cell() {
    return {many<Cell, Form::step>, many<Cell, Form::prepare>, many<Cell, Form::finish>, many<Cell, Form::input>};
}

template <class Products, class Cell>
constexpr CellKernels cell_kernels() {
    return {cell<Products, Cell, Form::step>, cell<Products, Cell, Form::prepare>, cell<Products, Cell, Form::finish>,
            cell<Products, Cell, Form::recur>, many_cell<Cell>()};
}

template <class Products>
constexpr MatrixKernels matrix_kernels() {
    return {linear<Products>,
            many_linear<Products>,
            cell_kernels<Products, Rnn>(),
            cell_kernels<Products, Gru>(),
            {gru_before<Products, Form::step>, gru_before<Products, Form::prepare>, gru_before<Products, Form::finish>,
             gru_before<Products, Form::recur>, many_cell<GruBefore>()},
            cell_kernels<Products, Lstm>()};
}
