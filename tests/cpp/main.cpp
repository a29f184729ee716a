// The suite runs once per ISA with RTRNN_ISA set; a run that asked for one and got another fails here.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "kernels/dispatch.hpp"

TEST_CASE("the forced ISA is the one that runs") {
    const char* forced = std::getenv("RTRNN_ISA");
    const rtrnn::KernelTable& chosen = rtrnn::select_kernels("");
    MESSAGE("ISA: " << std::string(chosen.name));
    if (forced && *forced) CHECK(std::strcmp(forced, chosen.name) == 0);
    else CHECK(std::string(chosen.name) == rtrnn::available_isas().front());
}
