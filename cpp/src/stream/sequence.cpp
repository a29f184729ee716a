#include "stream/sequence.hpp"

#include <algorithm>
#include <cstring>
#include <map>

#include "error.hpp"
#include "plan/limits.hpp"

namespace rtrnn {
namespace {

constexpr std::size_t most_idle = 4;   // sets of Streams kept for later runs

}  // namespace

Sequence::Sequence(const Graph& unlimited, const PlanOptions& given, OnNonFinite on_nonfinite) : on_nonfinite_(on_nonfinite), is_whole_(unlimited.is_causal()) {
    const Graph graph = with_limits(unlimited, given);
    PlanOptions options = given;
    options.limits = "";   // they are in the Graph now
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
    for (const Input& input : graph.inputs()) input_values_.push_back(value(input.name));
    for (const Output& output : graph.outputs()) output_values_.push_back(value(output.value));
    for (const Pass& pass : passes) {
        PlannedPass planned{pass.kind, std::make_shared<const Plan>(pass.graph, options), {}, {}};
        for (const Input& input : pass.graph.inputs()) planned.inputs.push_back(value(input.name));
        for (std::size_t i = 0; i < pass.graph.outputs().size(); ++i) {
            const std::size_t v = is_whole_ ? output_values_[i] : value(pass.graph.outputs()[i].value);
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

// A Stream for each pass, as it was left by an earlier run or new.
std::vector<Stream> Sequence::take_streams() const {
    {
        const std::lock_guard<std::mutex> lock(*mutex_);
        if (!idle_.empty()) {
            std::vector<Stream> streams = std::move(idle_.back());
            idle_.pop_back();
            return streams;
        }
    }
    std::vector<Stream> streams;
    streams.reserve(passes_.size());
    for (const PlannedPass& pass : passes_) streams.emplace_back(pass.plan, on_nonfinite_);
    return streams;
}

Status Sequence::run(const std::vector<const float*>& inputs, const std::vector<float*>& outputs, std::size_t count, std::size_t* failed_at) const {
    std::vector<Stream> streams = take_streams();
    const Status status = run(streams, inputs, outputs, count, failed_at);
    const std::lock_guard<std::mutex> lock(*mutex_);
    if (idle_.size() < most_idle) idle_.push_back(std::move(streams));
    return status;
}

Status Sequence::run(std::vector<Stream>& streams, const std::vector<const float*>& inputs, const std::vector<float*>& outputs, std::size_t count, std::size_t* failed_at) const {
    const auto ready = [&](Stream& stream) -> Stream& {
        stream.reset();
        if (count > 1) stream.reserve();
        return stream;
    };
    if (is_whole_) return ready(streams[0]).process(inputs.data(), outputs.data(), count, failed_at);

    std::vector<std::vector<float>> values(value_sizes_.size());
    std::vector<const float*> made(value_sizes_.size());
    for (std::size_t i = 0; i < inputs.size(); ++i) made[input_values_[i]] = inputs[i];
    // A `once` pass reads a sequence at the last step that its producer took.
    std::vector<bool> made_backwards(values.size(), false);
    Status worst = Status::ok;
    for (std::size_t p = 0; p < passes_.size(); ++p) {
        const PlannedPass& pass = passes_[p];
        const bool once = pass.kind == PassKind::once;
        std::vector<const float*> in;
        std::vector<float*> out;
        for (const std::size_t v : pass.inputs) in.push_back(made[v] + (once && !value_once_[v] && !made_backwards[v] ? count - 1 : 0) * value_sizes_[v]);
        for (const std::size_t v : pass.outputs) {
            if (values[v].empty()) values[v].resize(value_sizes_[v] * (value_once_[v] ? 1 : count));
            made[v] = values[v].data();
            made_backwards[v] = pass.kind == PassKind::reverse;
            out.push_back(values[v].data());
        }
        const Status status = ready(streams[p]).process(in.data(), out.data(), once ? 1 : count, failed_at, pass.kind == PassKind::reverse);
        if (status == Status::held) worst = status;
        else if (status != Status::ok) return status;
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
        const std::size_t v = output_values_[i], size = value_sizes_[v];
        if (!constant_outputs_[i].empty())
            for (std::size_t t = 0; t < count; ++t) std::copy(constant_outputs_[i].begin(), constant_outputs_[i].end(), outputs[i] + t * size);
        else
            std::memcpy(outputs[i], made[v], size * (value_once_[v] ? 1 : count) * sizeof(float));
    }
    return worst;
}

}  // namespace rtrnn
