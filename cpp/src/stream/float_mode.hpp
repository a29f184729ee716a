// The floating-point mode that the kernels are written for: rounding to nearest even, denormals kept. A caller may
// have set another one (audio hosts flush denormals to zero); a step gives the same bits under any, and leaves the caller's as it was.
#pragma once

#include <cstdint>

#include "rtrnn/realtime.h"

namespace rtrnn {

class FloatMode {
public:
    FloatMode() noexcept RTRNN_NONBLOCKING : usual_(is_usual()) {
        if (usual_) return;
        caller_ = read();
        write(usual_word);
    }
    ~FloatMode() noexcept RTRNN_NONBLOCKING {
        if (!usual_) write(caller_);
    }
    FloatMode(const FloatMode&) = delete;
    FloatMode& operator=(const FloatMode&) = delete;

private:
#if defined(__x86_64__) && defined(__GNUC__)
    using Word = unsigned int;
    using Vector [[gnu::vector_size(16)]] = float;
    static constexpr Word usual_word = 0x1f80;
    static Word read() noexcept { return __builtin_ia32_stmxcsr(); }
    static void write(Word word) noexcept { __builtin_ia32_ldmxcsr(word); }
    // Reading the word takes longer than to see what it does to four sums. Additions are what no CPU slows for denormals.
    alignas(16) static constexpr float a[4] = {1.0f, 1.0f, 0x1.8p-126f, 0x1p-126f};
    alignas(16) static constexpr float b[4] = {0x1.8p-24f, 0x1p-25f, -0x1p-126f, 0x1p-128f};
    // Another sum when rounding is down or to zero; up; results are flushed; operands are flushed.
    alignas(16) static constexpr float expected[4] = {0x1.000002p0f, 1.0f, 0x1p-127f, 0x1.4p-126f};
    static bool is_usual() noexcept {
        Vector sum, wanted;
        __builtin_memcpy(&sum, a, sizeof a);
        __builtin_memcpy(&wanted, expected, sizeof expected);
        __asm__ volatile("addps %1, %0\n\tpcmpeqd %2, %0" : "+x"(sum) : "m"(b), "x"(wanted));
        return __builtin_ia32_movmskps(sum) == 15;
    }
#elif defined(__aarch64__) && defined(__GNUC__)
    using Word = std::uint64_t;
    static constexpr Word usual_word = 0;
    static Word read() noexcept {
        Word word;
        __asm__ volatile("mrs %0, fpcr" : "=r"(word));
        return word;
    }
    static void write(Word word) noexcept { __asm__ volatile("msr fpcr, %0" : : "r"(word) : "memory"); }
    static bool is_usual() noexcept { return read() == usual_word; }
#else
    using Word = int;   // the caller's mode is used
    static constexpr Word usual_word = 0;
    static Word read() noexcept { return 0; }
    static void write(Word) noexcept {}
    static bool is_usual() noexcept { return true; }
#endif

    const bool usual_;
    Word caller_ = usual_word;
};

}  // namespace rtrnn
