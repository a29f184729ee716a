// Accuracy of the unary functions on floats spread over the whole range (tools/accuracy takes every one),
// their special values, and pow.
#include <doctest/doctest.h>

#include <cmath>

#include "kernels_reference.hpp"
#include "kernels_support.hpp"

using namespace kernels_test;
using namespace kernels_reference;

namespace {

std::vector<float> apply(const KernelTable& table, UnaryKind kind, const std::vector<float>& x, float alpha = 0, float beta = 0) {
    Arena arena;
    const Ref in = arena.put(x);
    rtrnn::UnaryArgs a{in, arena.space(x.size()), static_cast<std::int32_t>(x.size()), {kind, alpha, beta}};
    table.unary(&a, arena.data());
    return arena.get(a.y, x.size());
}

std::vector<float> spread(std::uint32_t stride) {
    std::vector<float> x;
    for (std::uint64_t b = 0; b < (1ull << 32); b += stride) x.push_back(from_bits(static_cast<std::uint32_t>(b)));
    return x;
}

}  // namespace

TEST_CASE("kernels: every unary function is as accurate as promised") {
    const auto x = spread(100003);
    for (const KernelTable* table : all_tables()) {
        CAPTURE(std::string(table->name));
        for (const auto& f : unary_functions) {
            CAPTURE(f.name);
            const auto y = apply(*table, f.kind, x, f.alpha, f.beta);
            double worst_ulp = 0, worst_absolute = 0;
            for (std::size_t i = 0; i < x.size(); ++i) {
                const double exact = unary(f.kind, x[i], f.alpha, f.beta);
                const double ulp = ulp_error(y[i], exact);
                worst_ulp = std::fmax(worst_ulp, ulp);
                if (ulp > 0) worst_absolute = std::fmax(worst_absolute, std::fabs(y[i] - exact));
            }
            CAPTURE(worst_ulp);
            CAPTURE(worst_absolute);
            CHECK((worst_ulp <= f.max_ulp || (f.max_absolute > 0 && worst_absolute <= f.max_absolute)));
        }
    }
}

TEST_CASE("kernels: tanh and sigmoid saturate, are symmetric and keep zero") {
    const auto x = spread(65537);
    for (const KernelTable* table : all_tables()) {
        CAPTURE(std::string(table->name));
        std::vector<float> minus = x;
        for (float& v : minus) v = -v;
        const auto y = apply(*table, UnaryKind::tanh, x), y_minus = apply(*table, UnaryKind::tanh, minus);
        const auto s = apply(*table, UnaryKind::sigmoid, x);
        bool odd = true, bounded = true, saturated = true, kept = true;
        for (std::size_t i = 0; i < x.size(); ++i) {
            if (std::isnan(x[i])) {
                kept = kept && std::isnan(y[i]) && std::isnan(s[i]);
                continue;
            }
            odd = odd && bits_of(y[i]) == (bits_of(y_minus[i]) ^ 0x80000000u);
            bounded = bounded && std::fabs(y[i]) <= 1 && s[i] >= 0 && s[i] <= 1;
            if (std::fabs(x[i]) > 9.02f) saturated = saturated && y[i] == std::copysign(1.0f, x[i]);
            if (std::fabs(x[i]) > 17.5f) saturated = saturated && s[i] == (x[i] > 0 ? 1.0f : 0.0f);
            if (std::fabs(x[i]) < 1e-30f) kept = kept && bits_of(y[i]) == bits_of(x[i]) && s[i] == 0.5f;
        }
        CHECK(odd);
        CHECK(bounded);
        CHECK(saturated);
        CHECK(kept);
    }
}

TEST_CASE("kernels: special values of unary functions") {
    const float inf = HUGE_VALF;
    const auto one = [](UnaryKind kind, float x, float alpha = 0, float beta = 0) { return apply(scalar(), kind, {x}, alpha, beta)[0]; };
    CHECK(one(UnaryKind::exp, inf) == inf);
    CHECK(one(UnaryKind::exp, 88.73f) == inf);
    CHECK(one(UnaryKind::exp, -inf) == 0);
    CHECK(one(UnaryKind::exp, 0) == 1);
    CHECK(one(UnaryKind::exp, -103.0f) == 1e-45f);
    CHECK(one(UnaryKind::log, 0) == -inf);
    CHECK(one(UnaryKind::log, -0.0f) == -inf);
    CHECK(one(UnaryKind::log, inf) == inf);
    CHECK(one(UnaryKind::log, 1) == 0);
    CHECK(std::isnan(one(UnaryKind::log, -1)));
    CHECK(std::isnan(one(UnaryKind::log, -inf)));
    CHECK(std::isnan(one(UnaryKind::sqrt, -1)));
    CHECK(one(UnaryKind::erf, inf) == 1);
    CHECK(one(UnaryKind::elu, -inf, 1) == -1);
    CHECK(one(UnaryKind::softplus, -inf, 1, 20) == 0);
    CHECK(one(UnaryKind::softplus, 21, 1, 20) == 21);
    for (UnaryKind kind : {UnaryKind::gelu, UnaryKind::gelu_tanh, UnaryKind::silu, UnaryKind::mish}) {
        CHECK(one(kind, -inf, 1) == 0);
        CHECK(one(kind, inf, 1) == inf);
        CHECK(one(kind, -3e38f, 1) == 0);
    }
    for (const auto& f : unary_functions) {
        CAPTURE(f.name);
        CHECK(std::isnan(one(f.kind, std::nanf(""), f.alpha, f.beta)));
    }
}

TEST_CASE("kernels: pow over its range and its special cases") {
    const float inf = HUGE_VALF, nan = std::nanf("");
    const float special[] = {0.0f, -0.0f, 1, -1, 2, -2, 3, -3, 0.5f, -0.5f, 2.5f, -2.5f, inf, -inf, nan, 1e-45f, -1e-45f, 1e30f,
                             -1e30f, 16777215, 16777216, -16777215, 16777218, 1e-30f, 0.99999994f, 1.0000001f};
    std::vector<float> a, b;
    for (float x : special) {
        for (float y : special) a.push_back(x), b.push_back(y);
    }
    Random random(3);
    for (int i = 0; i < 200000; ++i) {
        a.push_back(std::fabs(from_bits(random.bits())));
        b.push_back(i % 2 ? random.uniform(30.0f) : random.uniform(2.0f));
        if (i % 5 == 0) a.back() = random.uniform(4.0f), b.back() = std::floor(random.uniform(12.0f));
    }
    const auto n = static_cast<std::int32_t>(a.size());
    for (const KernelTable* table : all_tables()) {
        CAPTURE(std::string(table->name));
        Arena arena;
        rtrnn::BinaryArgs args{{a.data(), 0}, {b.data(), 0}, arena.space(a.size()), rtrnn::BinaryKind::pow, 1, n, 0, 1, 0, 1};
        table->binary(&args, arena.data());
        const auto y = arena.get(args.y, a.size());
        double worst = 0;
        for (std::size_t i = 0; i < a.size(); ++i) {
            const double exact = std::pow(static_cast<double>(a[i]), static_cast<double>(b[i]));
            const double ulp = ulp_error(y[i], exact);
            if (ulp > 4 || (y[i] == 0 && std::signbit(y[i]) != std::signbit(exact))) {
                CAPTURE(a[i]);
                CAPTURE(b[i]);
                CAPTURE(y[i]);
                CAPTURE(exact);
                CHECK(ulp <= 4);
                CHECK(std::signbit(y[i]) == std::signbit(exact));
            }
            worst = std::fmax(worst, ulp);
        }
        MESSAGE("pow: ", worst, " ulp on ", std::string(table->name));
    }
}
