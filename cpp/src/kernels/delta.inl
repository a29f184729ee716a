// y = y_old + W (x - x_used) over the columns whose x has changed by more than a threshold since it was used last. A row adds its columns one
// after the other in their order, so the bits do not depend on the vectors.
// Included inside the anonymous namespace of an ISA unit, after sums.inl.

constexpr int delta_columns = 8;   // added in one pass over the rows

// Adds `count` columns; those up to delta_columns that are missing are not read.
template <int count>
void add_delta_columns(const DeltaArgs& a, const std::int32_t* column, const float* change, float* y) {
    using V = Width16;
    const float* weights[count];
    for (int c = 0; c < count; ++c) weights[c] = a.weights + static_cast<std::ptrdiff_t>(column[c]) * a.stride;
    for (int row = 0; row < a.rows; row += V::lanes) {
        V sum = load_up_to<V>(y + row, a.rows - row);
        Repeat<count>::call([&](auto c) { sum = fma(V::load(weights[c.value] + row), V::splat(change[c.value]), sum); });
        store_up_to(y + row, a.rows - row, sum);
    }
}

void delta(const void* args, float* arena) noexcept RTRNN_NONBLOCKING {
    const DeltaArgs& a = *static_cast<const DeltaArgs*>(args);
    const float* x = resolve(a.x, arena);
    const float* used = resolve(a.used, arena);
    const float* old = resolve(a.y_old, arena);
    float* used_next = arena + a.used_next.offset;
    float* y = arena + a.y.offset;
    for (int i = 0; i < a.rows; ++i) y[i] = old[i];
    std::int32_t column[delta_columns];
    float change[delta_columns];
    int count = 0;
    for (int i = 0; i < a.cols; ++i) {
        const float d = x[i] - used[i];
        // A NaN counts as a change: it must come out.
        const bool changed = !(d <= a.threshold && -d <= a.threshold);
        used_next[i] = changed ? x[i] : used[i];
        column[count] = i;
        change[count] = d;
        count += changed;
        if (count == delta_columns) {
            add_delta_columns<delta_columns>(a, column, change, y);
            count = 0;
        }
    }
    for (int i = 0; i < count; ++i) add_delta_columns<1>(a, column + i, change + i, y);
}
