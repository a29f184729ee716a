// y = f(W x + b) for one or several x.
// Included inside the anonymous namespace of an ISA unit, after sums.inl and activation.inl.

template <class V>
void linear_tiles(const LinearArgs& a, float* arena) {
    const bool activated = a.activation.kind != UnaryKind::identity;
    const float* weights = a.weights;
    const float* bias = a.bias;
    // A tile's weights stay in L1 for all x.
    for (int row = 0; row < a.rows; row += V::lanes) {
        const float* x = resolve(a.x, arena);
        float* y = arena + a.y.offset;
        for (int batch = 0; batch < a.batch; ++batch) {
            V sum = row_sums<1, 4, V>(weights, bias, x, a.cols).gate[0];
            if (activated) activate(a.activation, sum);
            store_up_to(y + row, a.rows - row, sum);
            x += a.cols;
            y += a.rows;
        }
        weights += a.cols * V::lanes;
        bias += V::lanes;
    }
}

void linear(const void* args, float* arena) noexcept {
    const LinearArgs& a = *static_cast<const LinearArgs*>(args);
    switch (a.width) {
        case 8: return linear_tiles<Width8>(a, arena);
        case 16: return linear_tiles<Width16>(a, arena);
        default: return linear_tiles<Width32>(a, arena);
    }
}
