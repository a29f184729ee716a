// What a Plan can be asked for.
#pragma once

#include <map>
#include <string>

#include "export.hpp"
#include "kernels/kernels.hpp"

namespace rtrnn {

struct PlanOptions {
    std::string weights = "f32";   // precision of the matrices of rnn, gru, lstm and linear nodes: f32, f16, bf16, i16 or i8
    std::string isa = {};          // "" chooses: RTRNN_ISA if set, else the best this CPU has
    // Matrices with a precision of their own, by "NODE.ROLE"; roles are weight_ih, weight_hh, weight_hr and weight (of a linear).
    // Not for networks with reverse layers.
    std::map<std::string, std::string> overrides = {};
};

// The precision of each matrix, as the options say. Throws Error(unsupported) for the name of a precision that there is none of.
class RTRNN_EXPORT PrecisionChoice {
public:
    explicit PrecisionChoice(const PlanOptions& options);

    Precision of(const std::string& node, const char* role);
    // Throws Error(invalid_argument) when an override named a matrix that nobody asked about.
    void check_all_used() const;
    // What was answered, by "NODE.ROLE".
    const std::map<std::string, Precision>& chosen() const { return chosen_; }

private:
    Precision default_;
    std::map<std::string, Precision> overrides_;
    std::map<std::string, Precision> chosen_;
};

RTRNN_EXPORT const char* precision_name(Precision precision);

}  // namespace rtrnn
