// The sums of a matrix's rows, tile after tile, in the two ways that kernels take them: Inline forms the sums of an f32
// matrix in the kernel itself; Called lets each matrix's own function form them (Matrix::sums), whatever its precision.
// Included inside the anonymous namespace of an ISA unit, after tiles.inl.

// What a kernel knows of one matrix while it walks the tiles. `row` is the first of a tile; `bias` is that tile's.
struct Inline {
    template <int gates, int partials, class V>
    struct Rows {
        const float* weights;
        const float* x;
        int cols;

        [[gnu::always_inline]] inline void begin(const Matrix& matrix, const float* operand, int size, float*) {
            weights = static_cast<const float*>(matrix.weights);
            x = operand;
            cols = size;
        }
        [[gnu::always_inline]] inline Sums<V, gates> sums(int row, const float* bias) const {
            return row_sums<gates, partials, V>(tile(row), bias, x, cols);
        }
        // The same when the sums are kept while another matrix's are formed.
        [[gnu::always_inline]] inline Sums<V, gates> kept_sums(int row, const float* bias) const {
            return kept_row_sums<gates, partials, V>(tile(row), bias, x, cols);
        }

    private:
        [[gnu::always_inline]] inline const float* tile(int row) const { return weights + static_cast<std::ptrdiff_t>(row) * gates * cols; }
    };
};

struct Called {
    template <int gates, int partials, class V>
    struct Rows {
        const Matrix* matrix;
        Operand x;
        int cols;

        // `room` takes the quantised operand of a matrix of integers. Of a matrix without its zero blocks, `unit` is added to each sum.
        [[gnu::always_inline]] inline void begin(const Matrix& m, const float* operand, int size, float* room) {
            matrix = &m;
            cols = size;
            x = {operand, 1.0f};
            if (m.precision >= Precision::i16) {
                std::int16_t* const values = reinterpret_cast<std::int16_t*>(room);
                x = quantize(operand, size, m.precision == Precision::i8_state ? quantized_limit_8 : quantized_limit, values);
                if (m.arrange != nullptr) m.arrange(values, size);
            } else if (m.first_block != nullptr) {
                x.unit = zero_if_finite(operand, size);
            }
        }
        [[gnu::always_inline]] inline Sums<V, gates> sums(int row, const float* bias) const {
            alignas(64) float values[gates * V::lanes];
            matrix->sums(*matrix, row / V::lanes, x, cols, bias, values);
            return load_sums<gates, V>(values);
        }
        [[gnu::always_inline]] inline Sums<V, gates> kept_sums(int row, const float* bias) const { return sums(row, bias); }
    };
};
