// Unary functions in double precision, and how far a kernel's result may lie from them.
#pragma once

#include <cmath>
#include <limits>

#include "kernels/kernels.hpp"

namespace kernels_reference {

using rtrnn::UnaryKind;

struct UnaryFunction {
    UnaryKind kind;
    const char* name;
    float alpha, beta;
    double max_ulp;        // in units of the last place of the float32 result
    double max_absolute;   // an error within this is accepted too; 0 when only max_ulp counts
};

constexpr double infinity = std::numeric_limits<double>::infinity();

// Every kind with its default parameters; the bounds are those that the kernels promise.
inline const UnaryFunction unary_functions[] = {
    {UnaryKind::identity, "identity", 0, 0, 0, 0},
    {UnaryKind::neg, "neg", 0, 0, 0, 0},
    {UnaryKind::abs, "abs", 0, 0, 0, 0},
    {UnaryKind::sqrt, "sqrt", 0, 0, 0.501, 0},
    {UnaryKind::exp, "exp", 0, 0, 2, 0},
    {UnaryKind::log, "log", 0, 0, 2, 0},
    {UnaryKind::reciprocal, "reciprocal", 0, 0, 0.501, 0},
    {UnaryKind::sign, "sign", 0, 0, 0, 0},
    {UnaryKind::erf, "erf", 0, 0, 2, 0},
    {UnaryKind::floor, "floor", 0, 0, 0, 0},
    {UnaryKind::ceil, "ceil", 0, 0, 0, 0},
    {UnaryKind::relu, "relu", 0, 0, 0, 0},
    {UnaryKind::leaky_relu, "leaky_relu", 0.01f, 0, 0.501, 0},
    {UnaryKind::elu, "elu", 1, 0, 2, 0},
    {UnaryKind::selu, "selu", 1.67326319217681884765625f, 1.05070102214813232421875f, 4, 0},
    {UnaryKind::celu, "celu", 1, 0, 2, 0},
    {UnaryKind::sigmoid, "sigmoid", 0, 0, 0, 1.5e-7},
    {UnaryKind::tanh, "tanh", 0, 0, 4, 0},
    {UnaryKind::softplus, "softplus", 1, 20, 4, 0},
    {UnaryKind::softsign, "softsign", 0, 0, 2, 0},
    {UnaryKind::gelu, "gelu", 0, 0, 8, 0},
    {UnaryKind::gelu_tanh, "gelu_tanh", 0, 0, 8, 1e-6},
    {UnaryKind::silu, "silu", 1, 0, 4, 0},
    {UnaryKind::mish, "mish", 0, 0, 8, 0},
    {UnaryKind::hard_sigmoid, "hard_sigmoid", 0.2f, 0.5f, 0.501, 1e-7},
    {UnaryKind::hard_swish, "hard_swish", 0, 0, 4, 0},
    {UnaryKind::thresholded_relu, "thresholded_relu", 1, 0, 0, 0},
    {UnaryKind::scaled_tanh, "scaled_tanh", 1.7159f, 0.6666667f, 6, 0},
    {UnaryKind::affine, "affine", 1.5f, -0.25f, 0.501, 0},
    {UnaryKind::clip, "clip", -1, 1, 0, 0},
};

inline double sigmoid(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }
inline double softplus(double x) { return std::fmax(x, 0) + std::log1p(std::exp(-std::fabs(x))); }
inline double clip(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

inline double unary(UnaryKind kind, double x, double alpha, double beta) {
    if (std::isnan(x)) return x;
    switch (kind) {
        case UnaryKind::identity: return x;
        case UnaryKind::neg: return -x;
        case UnaryKind::abs: return std::fabs(x);
        case UnaryKind::sqrt: return std::sqrt(x);
        case UnaryKind::exp: return std::exp(x);
        case UnaryKind::log: return std::log(x);
        case UnaryKind::reciprocal: return 1 / x;
        case UnaryKind::sign: return x > 0 ? 1 : x < 0 ? -1 : x;
        case UnaryKind::erf: return std::erf(x);
        case UnaryKind::floor: return std::floor(x);
        case UnaryKind::ceil: return std::ceil(x);
        case UnaryKind::relu: return x > 0 ? x : 0;
        case UnaryKind::leaky_relu: return x >= 0 ? x : alpha * x;
        case UnaryKind::elu: return x > 0 ? x : alpha * std::expm1(x);
        case UnaryKind::selu: return beta * (x > 0 ? x : alpha * std::expm1(x));
        case UnaryKind::celu: return x > 0 ? x : alpha * std::expm1(x / alpha);
        case UnaryKind::sigmoid: return sigmoid(x);
        case UnaryKind::tanh: return std::tanh(x);
        case UnaryKind::softplus: return alpha * x > beta ? x : softplus(alpha * x) / alpha;
        case UnaryKind::softsign: return x / (1 + std::fabs(x));
        case UnaryKind::gelu: return x == -infinity ? 0 : 0.5 * x * std::erfc(-x * std::sqrt(0.5));
        case UnaryKind::gelu_tanh: {
            const double y = std::sqrt(2 / 3.14159265358979323846) * x * (1 + 0.044715 * x * x);
            return x == -infinity ? 0 : x * sigmoid(2 * y);
        }
        case UnaryKind::silu: return x == -infinity ? 0 : x * sigmoid(alpha * x);
        case UnaryKind::mish: return x == -infinity ? 0 : x * std::tanh(softplus(x));
        case UnaryKind::hard_sigmoid: return clip(alpha * x + beta, 0, 1);
        case UnaryKind::hard_swish: return x * clip((x + 3) / 6, 0, 1);
        case UnaryKind::thresholded_relu: return x > alpha ? x : 0;
        case UnaryKind::scaled_tanh: return alpha * std::tanh(beta * x);
        case UnaryKind::affine: return alpha * x + beta;
        case UnaryKind::clip: return clip(x, alpha, beta);
        case UnaryKind::count: break;
    }
    return std::numeric_limits<double>::quiet_NaN();
}

// Spacing of float32 at the exact value: 2^-149 at and below the denormals.
inline double ulp_at(double exact) {
    const double magnitude = std::fabs(exact);
    if (magnitude < 0x1p-126) return 0x1p-149;
    return std::ldexp(1.0, std::ilogb(magnitude) - 23);
}

// The distance of a float32 result from the exact value, in units of the last place; 0 when both are NaN,
// infinite when only one is. A result that overflowed is right when the exact value rounds to infinity.
inline double ulp_error(float result, double exact) {
    if (std::isnan(result) || std::isnan(exact)) return std::isnan(result) && std::isnan(exact) ? 0 : infinity;
    const double largest = 0x1.fffffep127;
    if (std::fabs(exact) > largest) {
        const double beyond = std::copysign(0x1p128, exact);   // as if the exponent had no upper end
        const double r = std::isinf(result) ? std::copysign(0x1p128, static_cast<double>(result)) : result;
        return std::fabs(r - (std::fabs(exact) > 0x1p128 ? beyond : exact)) / 0x1p104;
    }
    if (std::isinf(result)) return std::fabs(std::copysign(0x1p128, static_cast<double>(result)) - exact) / 0x1p104;
    return std::fabs(result - exact) / ulp_at(exact);
}

}  // namespace kernels_reference
