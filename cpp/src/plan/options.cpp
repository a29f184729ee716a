#include "plan/options.hpp"

#include <cmath>

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
    known_.insert(matrix);
    const auto found = overrides_.find(matrix);
    return found == overrides_.end() ? default_ : found->second;
}

void PrecisionChoice::check_all_used() const {
    for (const auto& [matrix, precision] : overrides_) {
        if (known_.count(matrix)) continue;
        std::string list;
        for (const std::string& name : known_) list += (list.empty() ? "" : ", ") + name;
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

const char* precision_name(Precision precision) { return precision == Precision::i8_state ? "i8" : names[static_cast<int>(precision)]; }

}  // namespace rtrnn
