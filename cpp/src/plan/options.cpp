#include "plan/options.hpp"

#include "error.hpp"

namespace rtrnn {
namespace {

// In the order of Precision; the last one is chosen by role, not by name.
constexpr const char* names[] = {"f32", "f16", "bf16", "i16", "i8"};
constexpr int name_count = sizeof names / sizeof *names;
static_assert(name_count == static_cast<int>(Precision::i8_state));

Precision parse(const std::string& name, const std::string& what) {
    for (int i = 0; i < name_count; ++i)
        if (name == names[i]) return static_cast<Precision>(i);
    std::string known;
    for (const char* n : names) known += (known.empty() ? "'" : ", '") + std::string(n) + "'";
    throw Error(ErrorKind::unsupported, what + " '" + name + "' is no precision this release has; expected one of " + known);
}

}  // namespace

PrecisionChoice::PrecisionChoice(const PlanOptions& options) : default_(parse(options.weights, "weights")) {
    for (const auto& [matrix, name] : options.overrides) overrides_[matrix] = parse(name, "weights of '" + matrix + "'");
}

Precision PrecisionChoice::of(const std::string& node, const char* role) {
    const std::string matrix = node + "." + role;
    const auto found = overrides_.find(matrix);
    return chosen_[matrix] = found == overrides_.end() ? default_ : found->second;
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

const char* precision_name(Precision precision) { return precision == Precision::i8_state ? "i8" : names[static_cast<int>(precision)]; }

}  // namespace rtrnn
