#include "kernels/dispatch.hpp"

#include <cstdlib>

#include "error.hpp"

namespace rtrnn {

const KernelTable* kernel_table_scalar() noexcept;
#if defined(RTRNN_ISA_X86)
const KernelTable* kernel_table_avx2() noexcept;
const KernelTable* kernel_table_avx512() noexcept;
const IntegerTiles* integer_tiles_avx512vnni() noexcept;
#endif
#if defined(RTRNN_ISA_NEON)
const KernelTable* kernel_table_neon() noexcept;
#endif

namespace {

// An ISA the project knows; one not compiled in for this machine has no table.
struct Isa {
    const char* name;
    const KernelTable* (*table)() noexcept;
    bool (*runs_here)() noexcept;
};

bool always() noexcept { return true; }

#if defined(RTRNN_ISA_X86)
// These ask the operating system's support for the wider registers too.
bool has_avx2() noexcept {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
bool has_avx512() noexcept {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool has_avx512vnni() noexcept { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }

const KernelTable* kernel_table_avx512vnni() noexcept {
    static const KernelTable table = [] {
        KernelTable t = *kernel_table_avx512();
        t.name = "avx512vnni";
        t.tiles[static_cast<int>(Precision::i16)] = integer_tiles_avx512vnni()->i16;
        t.tiles[static_cast<int>(Precision::i8)] = integer_tiles_avx512vnni()->i8;
        t.tiles[static_cast<int>(Precision::i8_state)] = integer_tiles_avx512vnni()->i8_state;
        return t;
    }();
    return &table;
}
#endif

// Best first.
constexpr Isa isas[] = {
#if defined(RTRNN_ISA_X86)
    {"avx512vnni", kernel_table_avx512vnni, has_avx512vnni},
    {"avx512", kernel_table_avx512, has_avx512},
    {"avx2", kernel_table_avx2, has_avx2},
#else
    {"avx512vnni", nullptr, nullptr},
    {"avx512", nullptr, nullptr},
    {"avx2", nullptr, nullptr},
#endif
#if defined(RTRNN_ISA_NEON)
    {"neon", kernel_table_neon, always},
#else
    {"neon", nullptr, nullptr},
#endif
    {"scalar", kernel_table_scalar, always},
};

bool available(const Isa& isa) noexcept { return isa.table != nullptr && isa.runs_here(); }

bool known(std::string_view name) noexcept {
    for (const Isa& isa : isas) {
        if (name == isa.name) return true;
    }
    return false;
}

std::string list_available() {
    std::string list;
    for (const std::string& name : available_isas()) list += (list.empty() ? "" : ", ") + name;
    return list;
}

}  // namespace

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const Isa& isa : isas) {
        if (available(isa)) names.emplace_back(isa.name);
    }
    return names;
}

const KernelTable* find_kernels(std::string_view name) noexcept {
    for (const Isa& isa : isas) {
        if (name == isa.name && available(isa)) return isa.table();
    }
    return nullptr;
}

const KernelTable& select_kernels(std::string_view requested) {
    std::string name(requested);
    std::string source = "isa";
    if (name.empty()) {
        const char* forced = std::getenv("RTRNN_ISA");
        if (forced != nullptr) name = forced;
        source = "environment variable RTRNN_ISA";
    }
    if (name.empty()) name = available_isas().front();
    if (const KernelTable* table = find_kernels(name)) return *table;
    const char* problem = known(name) ? "is not available on this machine" : "is unknown";
    throw Error(ErrorKind::invalid_argument, source + ": \"" + name + "\" " + problem + "; available: " + list_available());
}

}  // namespace rtrnn
