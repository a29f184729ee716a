#include "stream/sequence.hpp"

#include <algorithm>
#include <cstring>
#include <map>

#include "error.hpp"

namespace rtrnn {

Sequence::Sequence(const Graph& graph, const PlanOptions& options, OnNonFinite on_nonfinite) : on_nonfinite_(on_nonfinite) {
    std::map<std::string, std::size_t> index;
    const auto value = [&](const std::string& name) {
        const auto [found, is_new] = index.emplace(name, value_sizes_.size());
        if (is_new) {
            value_sizes_.push_back(static_cast<std::size_t>(element_count(graph.shape(name))));
            value_once_.push_back(false);
        }
        return found->second;
    };
    const std::vector<Pass> passes = split_into_passes(graph);
    if (!graph.is_causal() && !options.overrides.empty())
        throw Error(ErrorKind::unsupported, "weights of single matrices: not for networks with reverse layers, which run in several passes");
    const bool whole = graph.is_causal();   // the only pass is the Graph itself, whose outputs have names of their own
    for (const Input& input : graph.inputs()) input_values_.push_back(value(input.name));
    for (const Output& output : graph.outputs()) output_values_.push_back(value(output.value));
    for (const Pass& pass : passes) {
        PlannedPass planned{pass.kind, std::make_shared<const Plan>(pass.graph, options), {}, {}};
        for (const Input& input : pass.graph.inputs()) planned.inputs.push_back(value(input.name));
        for (std::size_t i = 0; i < pass.graph.outputs().size(); ++i) {
            const std::size_t v = whole ? output_values_[i] : value(pass.graph.outputs()[i].value);
            if (pass.kind == PassKind::once) value_once_[v] = true;
            planned.outputs.push_back(v);
        }
        passes_.push_back(std::move(planned));
    }
    for (const Output& output : graph.outputs()) {
        const std::size_t v = value(output.value);
        per_timestep_.push_back(!value_once_[v]);
        const Tensor* tensor = graph.find_tensor(output.value);
        constant_outputs_.emplace_back();
        if (tensor) constant_outputs_.back().assign(tensor->data.get(), tensor->data.get() + value_sizes_[v]);
    }
}

Status Sequence::run(const std::vector<const float*>& inputs, const std::vector<float*>& outputs, std::size_t count, std::size_t* failed_at) const {
    std::vector<std::vector<float>> values(value_sizes_.size());
    const auto row = [&](std::size_t v, std::size_t t) -> float* {
        return values[v].data() + (value_once_[v] ? 0 : t) * value_sizes_[v];
    };
    for (std::size_t v = 0; v < values.size(); ++v) values[v].resize(value_sizes_[v] * (value_once_[v] ? 1 : count));
    for (std::size_t i = 0; i < inputs.size(); ++i) std::memcpy(values[input_values_[i]].data(), inputs[i], values[input_values_[i]].size() * sizeof(float));

    // A `once` pass reads a sequence at the last step that its producer took.
    std::vector<bool> made_backwards(values.size(), false);
    Status worst = Status::ok;
    for (const PlannedPass& pass : passes_) {
        Stream stream(pass.plan, on_nonfinite_);
        const std::size_t steps = pass.kind == PassKind::once ? 1 : count;
        for (std::size_t n = 0; n < steps; ++n) {
            const std::size_t t = pass.kind == PassKind::reverse ? count - 1 - n : n;
            for (std::size_t i = 0; i < pass.inputs.size(); ++i) {
                const std::size_t v = pass.inputs[i];
                const std::size_t at = pass.kind == PassKind::once ? (made_backwards[v] ? 0 : count - 1) : t;
                std::memcpy(stream.input(i), row(v, at), value_sizes_[v] * sizeof(float));
            }
            const Status status = stream.step();
            if (status == Status::held) {
                worst = status;
            } else if (status != Status::ok) {
                if (failed_at) *failed_at = t;
                return status;
            }
            for (std::size_t i = 0; i < pass.outputs.size(); ++i) {
                const std::size_t v = pass.outputs[i];
                std::memcpy(row(v, t), stream.output(i), value_sizes_[v] * sizeof(float));
            }
        }
        if (pass.kind == PassKind::reverse)
            for (const std::size_t v : pass.outputs) made_backwards[v] = true;
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
        const std::size_t v = output_values_[i];
        if (!constant_outputs_[i].empty() && passes_.size() > 1)
            for (std::size_t t = 0; t < count; ++t) std::copy(constant_outputs_[i].begin(), constant_outputs_[i].end(), outputs[i] + t * value_sizes_[v]);
        else
            std::memcpy(outputs[i], values[v].data(), values[v].size() * sizeof(float));
    }
    return worst;
}

}  // namespace rtrnn
