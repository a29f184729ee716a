// Which kernels run: those of the ISA asked for, or the best this CPU has.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "export.hpp"
#include "kernels/kernels.hpp"

namespace rtrnn {

// Names of the ISAs that are compiled in and that this CPU (and its operating system) can run, best first;
// the last is always "scalar".
RTRNN_EXPORT std::vector<std::string> available_isas();

// The kernels of an available ISA by name, else null.
RTRNN_EXPORT const KernelTable* find_kernels(std::string_view name) noexcept;

// `requested` by name; when empty, the one named by the environment variable RTRNN_ISA; when that is unset
// or empty, the best available. Throws Error (invalid_argument) for a name that is unknown or not available.
RTRNN_EXPORT const KernelTable& select_kernels(std::string_view requested);

}  // namespace rtrnn
