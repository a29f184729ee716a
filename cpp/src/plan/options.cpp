#include "plan/options.hpp"

#include <cmath>

#include "error.hpp"

namespace rtrnn {
namespace {

constexpr NamedPrecision named[] = {
    {"f32", Precision::f32, Precision::f32},    {"f16", Precision::f16, Precision::f16},      {"bf16", Precision::bf16, Precision::bf16},
    {"i16", Precision::i16, Precision::i16},    {"i8", Precision::i8, Precision::i8_state},   {"i8a14", Precision::i8, Precision::i8},
};

const NamedPrecision* parse(const std::string& name, const std::string& what) {
    std::string known;
    for (const NamedPrecision& p : named) {
        if (name == p.name) return &p;
        known += (known.empty() ? "'" : ", '") + std::string(p.name) + "'";
    }
    throw Error(ErrorKind::unsupported, what + " '" + name + "' is no precision this release has; expected one of " + known);
}

}  // namespace

PrecisionChoice::PrecisionChoice(const PlanOptions& options) : default_(parse(options.weights, "weights")) {
    for (const auto& [matrix, name] : options.overrides) overrides_[matrix] = parse(name, "weights of '" + matrix + "'");
}

const NamedPrecision& PrecisionChoice::of(const std::string& node, const char* role) {
    const std::string matrix = node + "." + role;
    const auto found = overrides_.find(matrix);
    return *(chosen_[matrix] = found == overrides_.end() ? default_ : found->second);
}

void PrecisionChoice::check_all_used() const {
    for (const auto& [matrix, precision] : overrides_) {
        if (chosen_.count(matrix)) continue;
        std::string list;
        for (const auto& [name, unused] : chosen_) list += (list.empty() ? "" : ", ") + name;
        throw Error(ErrorKind::invalid_argument,
                    "weights of '" + matrix + "': the network has no such matrix; it has " + (list.empty() ? "none" : list));
    }
}

void check_threads(const ThreadOptions& threads) {
    const auto fail = [](const std::string& message) { throw Error(ErrorKind::invalid_argument, message); };
    if (threads.count < 1 || threads.count > max_threads)
        fail("threads: expected 1 to " + std::to_string(max_threads) + ", found " + std::to_string(threads.count));
    if (!threads.cpus.empty() && threads.cpus.size() != static_cast<std::size_t>(threads.count - 1))
        fail("cpus: expected " + std::to_string(threads.count - 1) + " processor numbers, one for each thread but the calling one, found " +
             std::to_string(threads.cpus.size()));
    if (!(threads.spin_ms >= 0 && std::isfinite(threads.spin_ms))) fail("spin_ms: expected a number of milliseconds from 0 on");
}

const char* precision_name(Precision precision) {
    for (const NamedPrecision& p : named)
        if (precision == p.of_input || precision == p.of_state) return p.name;
    return "";
}

}  // namespace rtrnn
