// What a Plan can be asked for.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "export.hpp"
#include "kernels/kernels.hpp"

namespace rtrnn {

// Several threads for one step, for networks whose weights one core's cache does not hold. Rows are divided among the threads; the bits stay.
struct ThreadOptions {
    int count = 1;             // threads that a step may use, the calling one included; 1 to 64
    std::vector<int> cpus{};   // where the others are pinned, count - 1 processor numbers (Linux); empty: nowhere
    double spin_ms = 5;        // how long a thread keeps looking for the next step, holding its core, before it begins to nap
    // A matrix is divided into parts of at least this many bytes of weights, if at all.
    std::int64_t smallest_part_bytes = 128 * 1024;   // measured: a GRU 64x128, twice this, takes 0.73 of the time by two threads
};

constexpr int max_threads = 64;

// Throws Error(invalid_argument).
void check_threads(const ThreadOptions& threads);

struct PlanOptions {
    std::string weights = "f32";   // precision of the matrices of rnn, gru, lstm and linear nodes: f32, f16, bf16, i16, i8 or i8a14
    std::string isa = {};          // "" chooses: RTRNN_ISA if set, else the best this CPU has
    // Matrices with a precision of their own, by "NODE.ROLE"; roles are weight_ih, weight_hh, weight_hr and weight (of a linear).
    // Not for networks with reverse layers.
    std::map<std::string, std::string> overrides = {};
    // Limits of the outputs, as JSON (limits.hpp); "" for none. Without it those of the Graph's metadata hold.
    std::optional<std::string> limits = {};
    ThreadOptions threads = {};
    // Threshold of delta updates (plan/delta), below which changes of a cell's input and state are not followed; none when below 0.
    double delta = -1;
};

// A precision as it is asked for. i8 and i8a14 differ in the operand that a recurrent matrix takes, of 8 or of 14 bits: the entries of a
// state are of like size, but rounding them to 8 bits is the larger part of i8's error there.
struct NamedPrecision {
    const char* name;
    Precision of_input, of_state;
};

// The precision of each matrix, as the options say. Throws Error(unsupported) for the name of a precision that there is none of.
class RTRNN_EXPORT PrecisionChoice {
public:
    explicit PrecisionChoice(const PlanOptions& options);

    const NamedPrecision& of(const std::string& node, const char* role);
    // Throws Error(invalid_argument) when an override named a matrix that nobody asked about.
    void check_all_used() const;
    // What was answered, by "NODE.ROLE".
    const std::map<std::string, const NamedPrecision*>& chosen() const { return chosen_; }

private:
    const NamedPrecision* default_;
    std::map<std::string, const NamedPrecision*> overrides_;
    std::map<std::string, const NamedPrecision*> chosen_;
};

const char* precision_name(Precision precision);

}  // namespace rtrnn
