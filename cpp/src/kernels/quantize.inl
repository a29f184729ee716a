// A vector of floats as 16-bit integers: value i is the integer nearest to limit x[i] / largest, ties to even, where
// largest is the greatest |x[i]|, but at least 2^-100, so that a vector of zeros needs no case of its own. A NaN or an
// infinity anywhere makes the unit, and so every sum, NaN.
// Included inside the anonymous namespace of an ISA unit, after math.inl.

// Writes n integers, and zeros up to a whole number of vectors.
[[gnu::noinline]] Operand quantize(const float* x, int n, float limit, std::int16_t* integers) {
    // As integers the bits of |x| are in the order of the values, with infinity and then NaN on top.
    Native bits = Native::splat(0x1p-100f);
    for (int i = 0; i < n; i += Native::lanes) bits = max_bits(bits, abs(load_up_to<Native>(x + i, n - i)));
    const float largest = largest_bits(bits);
    const Native scale = Native::splat(limit / largest);
    const Native magic = Native::splat(round_magic), zero = Native::splat(0.0f), smallest = Native::splat(0x1p-126f);
    for (int i = 0; i < n; i += Native::lanes) {
        const Native value = load_up_to<Native>(x + i, n - i);
        const Native normal = select(abs(value) < smallest, zero, value);   // the same integer, 0; some CPUs multiply denormals slowly
        store_low_halves(integers + i, fma(normal, scale, magic));
    }
    return {integers, largest / limit + (largest - largest)};
}
