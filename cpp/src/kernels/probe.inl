// What the CPU does at best with this ISA's vectors, for benchmarks to compare with: reading memory, multiply-adds.
// Included inside the anonymous namespace of an ISA unit, after vector.inl.

// Enough chains to hide the latency of a multiply-add on two units, few enough to stay in the registers.
constexpr int probe_chains = register_lanes / Native::lanes >= 24 && register_lanes < (1 << 20) ? 20 : 12;
constexpr int probe_block = 512;

// Reads x (n, a multiple of probe_block) `times` times. Bits are or-ed: an operation of one cycle that no denormal slows.
inline void probe_read(const float* x, std::size_t n, std::size_t times, float* sink) noexcept {
    constexpr int unroll = probe_block / Native::lanes < 16 ? probe_block / Native::lanes : 16;
    static_assert(probe_block % (unroll * Native::lanes) == 0, "a block is a whole number of turns");
    Native seen[unroll];
    Repeat<unroll>::call([&](auto i) { seen[i.value] = Native::splat(0.0f); });
    for (std::size_t t = 0; t < times; ++t) {
        for (std::size_t k = 0; k < n; k += unroll * Native::lanes)
            Repeat<unroll>::call([&](auto i) { seen[i.value] = bit_or(seen[i.value], Native::load(x + k + i.value * Native::lanes)); });
    }
    Native all = Native::splat(0.0f);
    Repeat<unroll>::call([&](auto i) { all = bit_or(all, seen[i.value]); });
    store(sink, all);
}

// `times` multiply-adds in each of probe_chains independent vectors.
inline void probe_fma(std::size_t times, float* sink) noexcept {
    const Native a = Native::load(sink), b = Native::load(sink + Native::lanes);
    Native chain[probe_chains];
    Repeat<probe_chains>::call([&](auto i) { chain[i.value] = a + Native::splat(static_cast<float>(i.value)); });   // chains alike would be one
    for (std::size_t t = 0; t < times; ++t) Repeat<probe_chains>::call([&](auto i) { chain[i.value] = fma(chain[i.value], a, b); });
    Native all = a;
    Repeat<probe_chains>::call([&](auto i) { all = all + chain[i.value]; });
    store(sink, all);
}
