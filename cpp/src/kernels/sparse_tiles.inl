// One tile's sums (TileSums in kernels.hpp) of an f32 matrix that is packed without its blocks of zeros: Matrix::first_block,
// block_column. Every block that is left is added to the partial sum that its column has in sums.inl, in the order of columns, so a row is
// summed as there but for terms w x with w = 0, which can change the sign of a zero and nothing else. Within a tile and gate all partial sums
// have the same number of blocks, some of them padding with zeros, so that the loop over them is foreseen by the processor.
// Included inside the anonymous namespace of an ISA unit, after sums.inl.

// 0, or NaN when one of n values is NaN or infinite: what is left out must not hide them.
[[gnu::noinline]] float zero_if_finite(const float* x, int n) {
    Native sum = Native::splat(0.0f);
    const Native zero = Native::splat(0.0f);
    for (int i = 0; i < n; i += Native::lanes) sum = fma(load_up_to<Native>(x + i, n - i), zero, sum);
    alignas(64) float lanes[Native::lanes];
    store(lanes, sum);
    float total = 0;
    for (int i = 0; i < Native::lanes; ++i) total += lanes[i];
    return total + 0.0f;
}

template <int gates, int partials>
void sparse_tile(const Matrix& m, std::int32_t tile, const Operand& x, std::int32_t cols, const float* bias,
                 float* sums) noexcept RTRNN_NONBLOCKING {
    using V = Width16;
    constexpr int block = chain_length * partials;
    const float* const values = static_cast<const float*>(x.values);
    const int blocks = (cols + block - 1) / block;
    const std::int32_t* const first = m.first_block + tile * gates;
    const float* weights = static_cast<const float*>(m.weights) + static_cast<std::ptrdiff_t>(first[0]) * V::lanes;
    const std::int32_t* column = m.block_column + first[0];
    for (int gate = 0; gate < gates; ++gate) {
        const int length = (first[gate + 1] - first[gate]) / (blocks * partials);
        V total = V::splat(0.0f);
        for (int b = 0; b < blocks; ++b) {
            V sum[partials];
            Repeat<partials>::call([&](auto p) { sum[p.value] = V::splat(0.0f); });
            if (b == 0) sum[0] = V::load(bias + gate * V::lanes) + V::splat(x.unit);
            for (int i = 0; i < length; ++i) {
                Repeat<partials>::call([&](auto p) {
                    sum[p.value] = fma(V::load(weights + p.value * V::lanes), V::splat(values[column[p.value]]), sum[p.value]);
                });
                weights += partials * V::lanes;
                column += partials;
            }
            total = b == 0 ? add_partials(sum) : total + add_partials(sum);
        }
        store(sums + gate * V::lanes, total);
    }
}
