// Kernels over whole vectors: equal bits on every ISA, nothing touched beyond the end, right values.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "kernels_reference.hpp"
#include "kernels_support.hpp"

using namespace kernels_test;
using rtrnn::BinaryKind;
using rtrnn::ReduceKind;
using rtrnn::UnaryKind;

namespace {

const float inf = HUGE_VALF;
const float nan_value = NAN;

// Ordinary values with every special one strewn in.
std::vector<float> mixed(Random& random, std::size_t n, float range) {
    static const float special[] = {0.0f, -0.0f, 1.0f, -1.0f, inf, -inf, nan_value, 1e-45f, -1e-45f, 1e-39f, -3e-39f,
                                    3.4e38f, -3.4e38f, 0.5f, -0.5f, 2.0f, 3.0f, -2.0f, -3.0f, 8388609.0f, -1.5f, 88.8f,
                                    -87.5f, -104.0f, 1.17549435e-38f};
    std::vector<float> v(n);
    for (float& x : v) {
        const std::uint32_t kind = random.bits() % 8;
        if (kind == 0) {
            x = special[random.bits() % (sizeof special / sizeof *special)];
        } else if (kind == 1) {
            x = from_bits(random.bits());
        } else {
            x = random.uniform(range);
        }
    }
    return v;
}

// Runs `run(table, arena)`, which returns the output's Ref and size, on every ISA; the scalar bits.
struct Output {
    Ref ref;
    std::size_t size;
};
std::vector<float> everywhere(const std::function<Output(const KernelTable&, Arena&)>& run) {
    Arena expected;
    const Output out = run(scalar(), expected);
    const auto result = expected.get(out.ref, out.size);
    for (const KernelTable* table : all_tables()) {
        CAPTURE(std::string(table->name));
        Arena arena;
        run(*table, arena);
        CHECK(arena.intact());
        CHECK(same_bits(arena.get(out.ref, out.size), result));
    }
    return result;
}

constexpr int lengths[] = {1, 2, 3, 5, 7, 8, 9, 11, 15, 16, 17, 23, 24, 31, 32, 33, 47, 48, 63, 64, 65, 70, 200};

}  // namespace

TEST_CASE("kernels: unary functions, any length and parameters") {
    std::uint64_t seed = 1;
    for (const auto& f : kernels_reference::unary_functions) {
        CAPTURE(f.name);
        for (int n : lengths) {
            Random random(seed++);
            const auto x = mixed(random, static_cast<std::size_t>(n), 6.0f);
            for (float alpha : {f.alpha, 0.37f}) {
                everywhere([&](const KernelTable& table, Arena& arena) {
                    rtrnn::UnaryArgs a{arena.put(x), arena.space(x.size()), n, {f.kind, alpha, f.beta}};
                    table.unary(&a, arena.data());
                    return Output{a.y, x.size()};
                });
                everywhere([&](const KernelTable& table, Arena& arena) {   // in place
                    rtrnn::UnaryArgs a{arena.put(x), {}, n, {f.kind, alpha, f.beta}};
                    a.y = a.x;
                    table.unary(&a, arena.data());
                    return Output{a.y, x.size()};
                });
            }
        }
    }
}

TEST_CASE("kernels: binary functions, every broadcasting") {
    constexpr BinaryKind kinds[] = {BinaryKind::add, BinaryKind::sub, BinaryKind::mul, BinaryKind::div, BinaryKind::min, BinaryKind::max, BinaryKind::pow};
    std::uint64_t seed = 1;
    for (BinaryKind kind : kinds) {
        CAPTURE(static_cast<int>(kind));
        for (int n : lengths) {
            for (int strides = 0; strides < 16; ++strides) {
                Random random(seed++);
                const int outer = 3;
                const int a_inner = strides & 1, b_inner = strides >> 1 & 1;
                const int a_outer = strides & 4 ? (a_inner ? n : 1) : 0, b_outer = strides & 8 ? (b_inner ? n : 1) : 0;
                const auto av = mixed(random, static_cast<std::size_t>(outer * n), 3.0f);
                const auto bv = mixed(random, static_cast<std::size_t>(outer * n), 3.0f);
                const auto y = everywhere([&](const KernelTable& table, Arena& arena) {
                    const Ref a = arena.put(av);
                    rtrnn::BinaryArgs args{a, {bv.data(), 0}, arena.space(av.size()), kind, outer, n, a_outer, a_inner, b_outer, b_inner};
                    table.binary(&args, arena.data());
                    return Output{args.y, av.size()};
                });
                for (int o = 0; o < outer; ++o) {
                    for (int i = 0; i < n; ++i) {
                        const float a = av[o * a_outer + i * a_inner], b = bv[o * b_outer + i * b_inner], r = y[o * n + i];
                        CAPTURE(a);
                        CAPTURE(b);
                        const bool any_nan = std::isnan(a) || std::isnan(b);
                        switch (kind) {
                            case BinaryKind::add: CHECK(same_bits(r, a + b)); break;
                            case BinaryKind::sub: CHECK(same_bits(r, a - b)); break;
                            case BinaryKind::mul: CHECK(same_bits(r, a * b)); break;
                            case BinaryKind::div: CHECK(same_bits(r, a / b)); break;
                            case BinaryKind::min: CHECK((any_nan ? std::isnan(r) : r == std::min(a, b))); break;
                            case BinaryKind::max: CHECK((any_nan ? std::isnan(r) : r == std::max(a, b))); break;
                            default: CHECK(kernels_reference::ulp_error(r, std::pow(double(a), double(b))) <= 4); break;
                        }
                    }
                }
            }
        }
    }
}

TEST_CASE("kernels: reductions") {
    std::uint64_t seed = 1;
    for (ReduceKind kind : {ReduceKind::sum, ReduceKind::mean, ReduceKind::max, ReduceKind::min}) {
        CAPTURE(static_cast<int>(kind));
        for (int inner : {1, 2, 8, 17, 33}) {
            for (int n : lengths) {
                const int outer = 2;
                const bool special = n % 3 == 0;
                Random random(seed++);
                const auto size = static_cast<std::size_t>(outer * n * inner);
                const auto x = special ? mixed(random, size, 3.0f) : random.vector(size, 3.0f);
                const auto y = everywhere([&](const KernelTable& table, Arena& arena) {
                    const std::size_t out = static_cast<std::size_t>(outer * inner);
                    const Ref in = arena.put(x);
                    rtrnn::ReduceArgs a{in, arena.space(out), kind, outer, n, inner};
                    table.reduce(&a, arena.data());
                    return Output{a.y, out};
                });
                for (int o = 0; o < outer * inner; ++o) {
                    double sum = 0, largest = -HUGE_VAL, smallest = HUGE_VAL;
                    bool any_nan = false;
                    for (int k = 0; k < n; ++k) {
                        const double v = x[(o / inner * n + k) * inner + o % inner];
                        any_nan = any_nan || std::isnan(v);
                        sum += v;
                        largest = std::max(largest, v);
                        smallest = std::min(smallest, v);
                    }
                    if (kind == ReduceKind::max) CHECK((any_nan ? std::isnan(y[o]) : y[o] == largest));
                    if (kind == ReduceKind::min) CHECK((any_nan ? std::isnan(y[o]) : y[o] == smallest));
                    if (special) continue;
                    if (kind == ReduceKind::sum) CHECK(std::fabs(y[o] - sum) < 2e-6 * n);
                    if (kind == ReduceKind::mean) CHECK(std::fabs(y[o] - sum / n) < 2e-6);
                }
            }
        }
    }
}

TEST_CASE("kernels: softmax and layer_norm") {
    std::uint64_t seed = 100;
    for (int n : lengths) {
        CAPTURE(n);
        const int rows = 3;
        Random random(seed++);
        const auto size = static_cast<std::size_t>(rows * n);
        const auto x = random.vector(size, 5.0f);
        const auto weight = random.vector(static_cast<std::size_t>(n)), bias = random.vector(static_cast<std::size_t>(n));
        const auto soft = everywhere([&](const KernelTable& table, Arena& arena) {
            const Ref in = arena.put(x);
            rtrnn::SoftmaxArgs a{in, arena.space(size), rows, n};
            table.softmax(&a, arena.data());
            return Output{a.y, size};
        });
        for (bool affine : {false, true}) {
            const auto norm = everywhere([&](const KernelTable& table, Arena& arena) {
                const Ref in = arena.put(x);
                rtrnn::LayerNormArgs a{in, arena.space(size), affine ? weight.data() : nullptr, affine ? bias.data() : nullptr, rows, n, 1e-5f};
                table.layer_norm(&a, arena.data());
                return Output{a.y, size};
            });
            for (int row = 0; row < rows; ++row) {
                const float* v = x.data() + row * n;
                double mean = 0, variance = 0, sum = 0;
                for (int i = 0; i < n; ++i) mean += v[i] / static_cast<double>(n);
                for (int i = 0; i < n; ++i) variance += (v[i] - mean) * (v[i] - mean) / n;
                for (int i = 0; i < n; ++i) sum += std::exp(static_cast<double>(v[i]));
                for (int i = 0; i < n; ++i) {
                    CHECK(std::fabs(soft[row * n + i] - std::exp(static_cast<double>(v[i])) / sum) < 1e-6);
                    if (n == 1) continue;   // x - mean is pure rounding there
                    const double scaled = (v[i] - mean) / std::sqrt(variance + 1e-5);
                    CHECK(std::fabs(norm[row * n + i] - (affine ? scaled * weight[i] + bias[i] : scaled)) < 1e-5);
                }
            }
        }
    }
}

TEST_CASE("kernels: softmax of rows with infinities and NaN") {
    const std::vector<float> x = {1000, 999, -inf, -1000, 0, nan_value, 0, 0, -inf, -inf, -inf, -inf};
    const auto y = everywhere([&](const KernelTable& table, Arena& arena) {
        const Ref in = arena.put(x);
        rtrnn::SoftmaxArgs a{in, arena.space(12), 3, 4};
        table.softmax(&a, arena.data());
        return Output{a.y, 12};
    });
    CHECK(y[0] == doctest::Approx(0.731058578));
    CHECK(y[2] == 0);
    CHECK(y[3] == 0);
    for (int i = 4; i < 12; ++i) CHECK(std::isnan(y[i]));
}

TEST_CASE("kernels: normalize, gather, copy and all_finite") {
    for (int n : lengths) {
        CAPTURE(n);
        Random random(static_cast<std::uint64_t>(n));
        const auto size = static_cast<std::size_t>(n);
        const auto x = random.vector(size), mean = random.vector(size), scale = random.vector(size, 3.0f);
        std::vector<std::int32_t> index(size);
        for (auto& i : index) i = static_cast<std::int32_t>(random.bits() % static_cast<std::uint32_t>(n));
        const auto normal = everywhere([&](const KernelTable& table, Arena& arena) {
            const Ref in = arena.put(x);
            rtrnn::NormalizeArgs a{in, arena.space(size), mean.data(), scale.data(), n};
            table.normalize(&a, arena.data());
            return Output{a.y, size};
        });
        const auto gathered = everywhere([&](const KernelTable& table, Arena& arena) {
            const Ref in = arena.put(x);
            rtrnn::GatherArgs a{in, arena.space(size), index.data(), n};
            table.gather(&a, arena.data());
            return Output{a.y, size};
        });
        const auto copied = everywhere([&](const KernelTable& table, Arena& arena) {
            const Ref in = arena.put(x);
            rtrnn::CopyArgs a{in, arena.space(size), n};
            table.copy(&a, arena.data());
            return Output{a.y, size};
        });
        CHECK(same_bits(copied, x));
        for (std::size_t i = 0; i < size; ++i) {
            CHECK(same_bits(normal[i], (x[i] - mean[i]) * scale[i]));
            CHECK(same_bits(gathered[i], x[static_cast<std::size_t>(index[i])]));
        }
        for (const KernelTable* table : all_tables()) {
            CHECK(table->all_finite(x.data(), size));
            CHECK(table->all_finite(x.data(), 0));
            for (float bad : {inf, -inf, nan_value}) {
                for (std::size_t i = 0; i < size; ++i) {
                    auto spoilt = x;
                    spoilt[i] = bad;
                    CHECK_FALSE(table->all_finite(spoilt.data(), size));
                }
            }
            const std::vector<float> extremes(size, 3.4028234e38f);
            CHECK(table->all_finite(extremes.data(), size));
        }
    }
}
