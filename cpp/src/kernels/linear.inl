// y = f(W x + b) for one or several x.
// Included inside the anonymous namespace of an ISA unit, after products.inl and activation.inl.

template <class V>
[[gnu::always_inline]] inline void store_activated(const LinearArgs& a, float* y, int row, V sum) {
    if (a.activation.kind != UnaryKind::identity) activate(a.activation, sum);
    store_up_to(y + row, a.rows - row, sum);
}

template <class V>
void linear_tiles(Inline, const LinearArgs& a, float* arena) {
    const float* weights = static_cast<const float*>(a.weight.weights);
    const float* bias = a.bias;
    // A tile's weights stay in L1 for all x.
    for (int row = 0; row < a.rows; row += V::lanes) {
        const float* x = resolve(a.x, arena);
        float* y = arena + a.y.offset;
        for (int batch = 0; batch < a.batch; ++batch) {
            store_activated(a, y, row, row_sums<1, 4, V>(weights, bias, x, a.cols).gate[0]);
            x += a.cols;
            y += a.rows;
        }
        weights += a.cols * V::lanes;
        bias += V::lanes;
    }
}

// Each x is quantised once, so here x is the outer loop.
template <class V>
void linear_tiles(Called, const LinearArgs& a, float* arena) {
    const float* x = resolve(a.x, arena);
    float* y = arena + a.y.offset;
    for (int batch = 0; batch < a.batch; ++batch) {
        Called::Rows<1, 4, V> rows;
        rows.begin(a.weight, x, a.cols, arena + a.x_quantized.offset);
        for (int row = 0; row < a.rows; row += V::lanes) store_activated(a, y, row, rows.next(a.bias + row).gate[0]);
        x += a.cols;
        y += a.rows;
    }
}

template <class Products>
void linear(const void* args, float* arena) noexcept RTRNN_NONBLOCKING {
    const LinearArgs& a = *static_cast<const LinearArgs*>(args);
    switch (a.width) {
        case 8: return linear_tiles<Width8>(Products{}, a, arena);
        case 16: return linear_tiles<Width16>(Products{}, a, arena);
        default: return linear_tiles<Width32>(Products{}, a, arena);
    }
}
