// y = f(W x + b) for one or several x.
// Included inside the anonymous namespace of an ISA unit, after products.inl and activation.inl.

template <class Products, class V>
void linear_tiles(const LinearArgs& a, float* arena) {
    const float* x = resolve(a.x, arena);
    float* y = arena + a.y.offset;
    const bool activated = a.activation.kind != UnaryKind::identity;
    for (int batch = 0; batch < a.batch; ++batch) {
        typename Products::template Rows<1, 4, V> rows;
        rows.begin(a.weight, x, a.cols, arena + a.x_quantized.offset);
        for (int row = 0; row < a.rows; row += V::lanes) {
            V sum = rows.next(a.bias + row).gate[0];
            if (activated) activate(a.activation, sum);
            store_up_to(y + row, a.rows - row, sum);
        }
        x += a.cols;
        y += a.rows;
    }
}

template <class Products>
void linear(const void* args, float* arena) noexcept {
    const LinearArgs& a = *static_cast<const LinearArgs*>(args);
    switch (a.width) {
        case 8: return linear_tiles<Products, Width8>(a, arena);
        case 16: return linear_tiles<Products, Width16>(a, arena);
        default: return linear_tiles<Products, Width32>(a, arena);
    }
}
