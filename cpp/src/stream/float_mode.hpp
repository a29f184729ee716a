// The floating-point mode that the kernels are written for: rounding to nearest even, denormals kept, exceptions masked. A caller may
// have set another one (audio hosts flush denormals to zero); a step gives the same bits under any, and leaves the caller's as it was.
#pragma once

#include <cstdint>

#include "rtrnn/realtime.h"

namespace rtrnn {

class FloatMode {
public:
    FloatMode() noexcept RTRNN_NONBLOCKING : caller_(read()) {
        if (!is_default(caller_)) write(default_word);
    }
    ~FloatMode() noexcept RTRNN_NONBLOCKING {
        if (!is_default(caller_)) write(caller_);
    }
    FloatMode(const FloatMode&) = delete;
    FloatMode& operator=(const FloatMode&) = delete;

private:
#if defined(__x86_64__) && defined(__GNUC__)
    using Word = unsigned int;
    static constexpr Word default_word = 0x1f80;
    static bool is_default(Word word) noexcept { return (word & 0xffc0u) == default_word; }   // the other bits say what has happened
    static Word read() noexcept { return __builtin_ia32_stmxcsr(); }
    static void write(Word word) noexcept { __builtin_ia32_ldmxcsr(word); }
#elif defined(__aarch64__) && defined(__GNUC__)
    using Word = std::uint64_t;
    static constexpr Word default_word = 0;
    static bool is_default(Word word) noexcept { return word == default_word; }
    static Word read() noexcept {
        Word word;
        __asm__ volatile("mrs %0, fpcr" : "=r"(word));
        return word;
    }
    static void write(Word word) noexcept { __asm__ volatile("msr fpcr, %0" : : "r"(word) : "memory"); }
#else
    using Word = int;   // the caller's mode is used
    static constexpr Word default_word = 0;
    static bool is_default(Word) noexcept { return true; }
    static Word read() noexcept { return 0; }
    static void write(Word) noexcept {}
#endif

    Word caller_;
};

}  // namespace rtrnn
