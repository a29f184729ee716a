// One timestep of rnn, gru, gru_before and lstm.
//
// A cell is a struct: how many gates its matrices have, how many partial sums a row takes, and `combine`,
// which turns a tile's input sums and recurrent sums into the next state. run_cell walks the tiles in one of
// these forms: step (both sums stay in registers), prepare (stores the recurrent sums), finish (loads them), recur (loads the
// input sums, which only the kernels for many arenas store: many.inl).
// The two sums are formed apart and then added, so the forms agree in every bit. `Products` says how the sums of a
// matrix are formed (products.inl).
// Included inside the anonymous namespace of an ISA unit, after products.inl and activation.inl.

enum class Form { step, prepare, finish, input, recur };

struct StateRefs {
    const float* h;   // of the same rows as the rest
    const float* c;
    float* h_out;
    float* c_out;
};

// Clips a gate's sum, if the cell clips, and applies its activation.
template <class V>
[[gnu::always_inline]] inline V gate_value(const CellArgs& a, int activation, V sum) {
    if (a.clip > 0.0f) {
        const V limit = V::splat(a.clip);
        sum = min(limit, max(negate(limit), sum));
    }
    activate(a.activation[activation], sum);
    return sum;
}

struct Rnn {
    static constexpr int gates = 1;
    static constexpr int partials = 4;

    template <bool standard, class V>
    [[gnu::always_inline]] static inline void combine(const CellArgs& a, const StateRefs& s, int row,
                                                      const Sums<V, 1>& x, const Sums<V, 1>& h) {
        const V sum = x.gate[0] + h.gate[0];
        V next;
        if constexpr (standard) {
            next = tanh(sum);
        } else {
            next = gate_value(a, 0, sum);
        }
        store_up_to(s.h_out + row, a.hidden_size - row, next);
    }
};

struct Gru {
    static constexpr int gates = 3;
    static constexpr int partials = 2;

    template <bool standard, class V>
    [[gnu::always_inline]] static inline void combine(const CellArgs& a, const StateRefs& s, int row,
                                                      const Sums<V, 3>& x, const Sums<V, 3>& h) {
        const V r_sum = x.gate[0] + h.gate[0];
        const V z_sum = x.gate[1] + h.gate[1];
        V z, n;
        if constexpr (standard) {
            n = tanh(fma(sigmoid(r_sum), h.gate[2], x.gate[2]));
            z = sigmoid(z_sum);
        } else {
            const V r = gate_value(a, 0, r_sum);
            z = gate_value(a, 0, z_sum);
            n = gate_value(a, 1, fma(r, h.gate[2], x.gate[2]));
        }
        const V old = load_up_to<V>(s.h + row, a.hidden_size - row);
        store_up_to(s.h_out + row, a.hidden_size - row, fma(z, old - n, n));
    }
};

struct Lstm {
    static constexpr int gates = 4;
    static constexpr int partials = 2;

    template <bool standard, class V>
    [[gnu::always_inline]] static inline void combine(const CellArgs& a, const StateRefs& s, int row,
                                                      const Sums<V, 4>& x, const Sums<V, 4>& h) {
        const int left = a.hidden_size - row;
        const V old = load_up_to<V>(s.c + row, left);
        V i = x.gate[0] + h.gate[0];
        V f = x.gate[1] + h.gate[1];
        V g = x.gate[2] + h.gate[2];
        V o = x.gate[3] + h.gate[3];
        V next;
        if constexpr (standard) {
            next = fma(sigmoid(f), old, sigmoid(i) * tanh(g));
            o = sigmoid(o) * tanh(next);
        } else {
            const float* peephole = a.peephole == nullptr ? nullptr : a.peephole + 3 * row;
            if (peephole != nullptr) {
                i = fma(V::load(peephole), old, i);
                f = fma(V::load(peephole + V::lanes), old, f);
            }
            i = gate_value(a, 0, i);
            f = a.input_forget ? V::splat(1.0f) - i : gate_value(a, 0, f);
            g = gate_value(a, 1, g);
            next = fma(f, old, i * g);
            if (peephole != nullptr) o = fma(V::load(peephole + 2 * V::lanes), next, o);
            o = gate_value(a, 0, o);
            V squashed = next;
            activate(a.activation[2], squashed);
            o = o * squashed;
        }
        store_up_to(s.c_out + row, left, next);
        store_up_to(s.h_out + row, left, o);
    }
};

template <class Products, class Cell, Form form, bool standard, class V>
void cell_tiles(const CellArgs& a, float* arena) {
    constexpr int gates = Cell::gates;
    const float* h = resolve(a.h, arena);
    const StateRefs state{h + a.first_row, resolve(a.c, arena), arena + a.h_out.offset, arena + a.c_out.offset};
    float* prepared = arena + a.prepared.offset;
    typename Products::template Rows<gates, Cell::partials, V> x_rows, h_rows;
    const int last_tile = (a.hidden_size - 1) / V::lanes;
    if constexpr (form == Form::step || form == Form::finish)
        x_rows.begin(a.weight_ih, resolve(a.x, arena), a.input_size, arena + a.x_quantized.offset, last_tile, a.backward);
    if constexpr (form != Form::finish) h_rows.begin(a.weight_hh, h, a.recurrent_size, arena + a.h_quantized.offset, last_tile, a.backward);
    const int stride = a.backward ? -V::lanes : V::lanes;
    int row = a.backward ? last_tile * V::lanes : 0;
    for (int tiles = last_tile; tiles >= 0; --tiles, row += stride) {
        if constexpr (form == Form::prepare) {
            store_sums(prepared + gates * row, h_rows.next(a.bias_hh + gates * row));
        } else if constexpr (form == Form::finish) {
            Cell::template combine<standard>(a, state, row, x_rows.next(a.bias_ih + gates * row), load_sums<gates, V>(prepared + gates * row));
        } else if constexpr (form == Form::recur) {
            Cell::template combine<standard>(a, state, row, load_sums<gates, V>(prepared + gates * row), h_rows.next(a.bias_hh + gates * row));
        } else {
            const Sums<V, gates> x_sums = x_rows.next_kept(a.bias_ih + gates * row);
            Cell::template combine<standard>(a, state, row, x_sums, h_rows.next(a.bias_hh + gates * row));
        }
    }
}

// The product W_hn (r * h) needs r of every row first, so gru_before takes two passes. Scratch holds r * h,
// then z, then the n gate's input sums, each as long as the padded state.
template <class Products, Form form, class V>
void gru_before_tiles(const CellArgs& a, float* arena) {
    const float* h = resolve(a.h, arena);
    float* h_out = arena + a.h_out.offset;
    float* prepared = arena + a.prepared.offset;
    const int padded = (a.hidden_size + V::lanes - 1) / V::lanes * V::lanes;
    float* reset_h = arena + a.scratch.offset;
    float* update = reset_h + padded;
    float* n_sums = update + padded;
    typename Products::template Rows<3, 2, V> x_rows;
    typename Products::template Rows<2, 2, V> h_rows;
    if constexpr (form == Form::step || form == Form::finish) x_rows.begin(a.weight_ih, resolve(a.x, arena), a.input_size, arena + a.x_quantized.offset);
    if constexpr (form != Form::finish) h_rows.begin(a.weight_hh, h, a.recurrent_size, arena + a.h_quantized.offset);
    for (int row = 0; row < a.hidden_size; row += V::lanes) {
        Sums<V, 2> h_sums;
        if constexpr (form == Form::finish) {
            h_sums = load_sums<2, V>(prepared + 2 * row);
        } else {
            h_sums = h_rows.next_kept(a.bias_hh + 3 * row);
        }
        if constexpr (form == Form::prepare) {
            store_sums(prepared + 2 * row, h_sums);
        } else {
            Sums<V, 3> x_sums;
            if constexpr (form == Form::recur) {
                x_sums = load_sums<3, V>(prepared + 3 * row);
            } else {
                x_sums = x_rows.next(a.bias_ih + 3 * row);
            }
            const V r = gate_value(a, 0, x_sums.gate[0] + h_sums.gate[0]);
            const V z = gate_value(a, 0, x_sums.gate[1] + h_sums.gate[1]);
            store(reset_h + row, r * load_up_to<V>(h + row, a.hidden_size - row));
            store(update + row, z);
            store(n_sums + row, x_sums.gate[2]);
        }
    }
    if constexpr (form != Form::prepare) {
        typename Products::template Rows<1, 2, V> reset_rows;
        reset_rows.begin(a.weight_hn, reset_h, a.recurrent_size, arena + a.h_quantized.offset);
        for (int row = 0; row < a.hidden_size; row += V::lanes) {
            const V recurrent = reset_rows.next(a.bias_hh + 3 * row + 2 * V::lanes).gate[0];
            const V n = gate_value(a, 1, V::load(n_sums + row) + recurrent);
            const V old = load_up_to<V>(h + row, a.hidden_size - row);
            store_up_to(h_out + row, a.hidden_size - row, fma(V::load(update + row), old - n, n));
        }
    }
}

template <class Products, class Cell, Form form, class V>
[[gnu::always_inline]] inline void cell_of_width(const CellArgs& a, float* arena) {
    // prepare applies no activation, so it has one version
    if (form == Form::prepare || a.standard) return cell_tiles<Products, Cell, form, true, V>(a, arena);
    return cell_tiles<Products, Cell, form, false, V>(a, arena);
}

template <class Products, class Cell, Form form>
void cell(const void* args, float* arena) noexcept RTRNN_NONBLOCKING {
    const CellArgs& a = *static_cast<const CellArgs*>(args);
    switch (a.width) {
        case 8: return cell_of_width<Products, Cell, form, Width8>(a, arena);
        case 16: return cell_of_width<Products, Cell, form, Width16>(a, arena);
        default: return cell_of_width<Products, Cell, form, Width32>(a, arena);
    }
}

template <class Products, Form form>
void gru_before(const void* args, float* arena) noexcept RTRNN_NONBLOCKING {
    const CellArgs& a = *static_cast<const CellArgs*>(args);
    switch (a.width) {
        case 8: return gru_before_tiles<Products, form, Width8>(a, arena);
        case 16: return gru_before_tiles<Products, form, Width16>(a, arena);
        default: return gru_before_tiles<Products, form, Width32>(a, arena);
    }
}
