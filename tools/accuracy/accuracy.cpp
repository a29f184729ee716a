// Measures the error of every unary kernel against double precision, over every float32 or every n-th.
//
//   accuracy [--isa NAME] [--stride N] [FUNCTION ..]
//
// Prints the largest error of each function and where it is; exits with 1 when one exceeds its bound, leaves
// its range or is not odd where it should be. Build: see README.md in this folder.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/dispatch.hpp"
#include "../../tests/cpp/kernels_reference.hpp"

using namespace kernels_reference;

namespace {

float from_bits(std::uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

struct Worst {
    double ulp = 0, absolute = 0;
    float ulp_at = 0, absolute_at = 0;
    std::uint64_t outside = 0;   // results beyond the function's range
};

void low_and_high(UnaryKind kind, double& low, double& high) {
    low = kind == UnaryKind::tanh || kind == UnaryKind::erf || kind == UnaryKind::softsign ? -1 : -infinity;
    if (kind == UnaryKind::sigmoid || kind == UnaryKind::hard_sigmoid || kind == UnaryKind::exp) low = 0;
    if (kind == UnaryKind::softplus) low = 0;
    high = low == -1 || kind == UnaryKind::sigmoid || kind == UnaryKind::hard_sigmoid ? 1 : infinity;
}

Worst measure(const rtrnn::KernelTable& table, const UnaryFunction& f, std::uint64_t stride) {
    constexpr int block = 4096;
    std::vector<float> arena(2 * block);
    const rtrnn::UnaryArgs args{{nullptr, 0}, {nullptr, block}, block, {f.kind, f.alpha, f.beta}};
    double low, high;
    low_and_high(f.kind, low, high);
    Worst worst;
    for (std::uint64_t begin = 0; begin < (1ull << 32); begin += block * stride) {
        for (int i = 0; i < block; ++i) arena[i] = from_bits(static_cast<std::uint32_t>(begin + i * stride));
        table.unary(&args, arena.data());
        for (int i = 0; i < block; ++i) {
            const float x = arena[i];
            const float y = arena[block + i];
            const double exact = unary(f.kind, x, f.alpha, f.beta);
            const double ulp = ulp_error(y, exact);
            const double absolute = ulp == 0 ? 0 : std::fabs(y - exact);
            if (absolute > worst.absolute) worst.absolute = absolute, worst.absolute_at = x;
            if (ulp > worst.ulp) worst.ulp = ulp, worst.ulp_at = x;
            if (y < low || y > high) ++worst.outside;
        }
    }
    return worst;
}

}  // namespace

int main(int argc, char** argv) {
    std::string isa;
    std::uint64_t stride = 1;
    std::vector<std::string> names;
    for (int i = 1; i < argc; ++i) {
        const std::string argument = argv[i];
        if (argument == "--isa" && i + 1 < argc) {
            isa = argv[++i];
        } else if (argument == "--stride" && i + 1 < argc) {
            stride = std::strtoull(argv[++i], nullptr, 10);
        } else {
            names.push_back(argument);
        }
    }
    if (stride == 0) {
        std::fprintf(stderr, "--stride: expected a positive number\n");
        return 2;
    }
    const rtrnn::KernelTable& table = rtrnn::select_kernels(isa);
    std::printf("isa %s, every %s%llu\n", table.name, stride == 1 ? "float32, stride " : "n-th float32, n = ",
                static_cast<unsigned long long>(stride));
    std::size_t found = 0;
    bool good = true;
    for (const UnaryFunction& f : unary_functions) {
        bool wanted = names.empty();
        for (const std::string& name : names) wanted = wanted || name == f.name;
        if (!wanted) continue;
        ++found;
        const Worst w = measure(table, f, stride);
        const bool within = w.ulp <= f.max_ulp || (f.max_absolute > 0 && w.absolute <= f.max_absolute);
        const bool passed = within && w.outside == 0;
        good = good && passed;
        std::printf("%-18s %10.4f ulp at %-16.9g %.4g absolute at %-16.9g %s%s\n", f.name, w.ulp, w.ulp_at, w.absolute,
                    w.absolute_at, passed ? "ok" : "EXCEEDED", w.outside ? " OUTSIDE ITS RANGE" : "");
        std::fflush(stdout);
    }
    if (found < names.size()) {
        std::fprintf(stderr, "unknown function among the names given\n");
        return 2;
    }
    return good ? 0 : 1;
}
