// The sums of a matrix's rows, tile after tile, in the two ways that kernels take them: Inline forms the sums of an f32
// matrix in the kernel itself; Called lets each matrix's own function form them (Matrix::sums), whatever its precision.
// Included inside the anonymous namespace of an ISA unit, after tiles.inl.

// What a kernel knows of one matrix while it walks the tiles.
struct Inline {
    template <int gates, int partials, class V>
    struct Rows {
        const float* weights;
        const float* x;
        std::ptrdiff_t tile_size;   // negative when the tiles are walked backwards
        int cols;

        [[gnu::always_inline]] inline void begin(const Matrix& matrix, const float* operand, int size, float*, int last_tile = 0,
                                                 bool backward = false) {
            tile_size = static_cast<std::ptrdiff_t>(gates) * V::lanes * size;
            weights = static_cast<const float*>(matrix.weights) + (backward ? last_tile * tile_size : 0);
            if (backward) tile_size = -tile_size;
            x = operand;
            cols = size;
        }
        [[gnu::always_inline]] inline Sums<V, gates> next(const float* bias) {
            const Sums<V, gates> sums = row_sums<gates, partials, V>(weights, bias, x, cols);
            weights += tile_size;
            return sums;
        }
        // The same when the sums are kept while another matrix's are formed.
        [[gnu::always_inline]] inline Sums<V, gates> next_kept(const float* bias) {
            const Sums<V, gates> sums = kept_row_sums<gates, partials, V>(weights, bias, x, cols);
            weights += tile_size;
            return sums;
        }
    };
};

struct Called {
    template <int gates, int partials, class V>
    struct Rows {
        const Matrix* matrix;
        Operand x;
        int cols, tile, next_tile;

        // `room` takes the quantised operand of a matrix of integers. Of a matrix without its zero blocks, `unit` is added to each sum.
        [[gnu::always_inline]] inline void begin(const Matrix& m, const float* operand, int size, float* room, int last_tile = 0,
                                                 bool backward = false) {
            matrix = &m;
            cols = size;
            tile = backward ? last_tile : 0;
            next_tile = backward ? -1 : 1;
            x = {operand, 1.0f};
            if (m.precision >= Precision::i16) {
                std::int16_t* const values = reinterpret_cast<std::int16_t*>(room);
                x = quantize(operand, size, m.precision == Precision::i8_state ? quantized_limit_8 : quantized_limit, values);
                if (m.arrange != nullptr) m.arrange(values, size);
            } else if (m.first_block != nullptr) {
                x.unit = zero_if_finite(operand, size);
            }
        }
        [[gnu::always_inline]] inline Sums<V, gates> next(const float* bias) {
            alignas(64) float sums[gates * V::lanes];
            matrix->sums(*matrix, tile, x, cols, bias, sums);
            tile += next_tile;
            return load_sums<gates, V>(sums);
        }
        [[gnu::always_inline]] inline Sums<V, gates> next_kept(const float* bias) { return next(bias); }
    };
};
