#include "plan/limits.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "graph/json.hpp"

namespace rtrnn {
namespace {

constexpr float largest = std::numeric_limits<float>::max();   // as good as no limit: tensors are finite

// One output's entry.
class Limits {
public:
    Limits(const std::string& output, const json::Value& entry, std::size_t size, ErrorKind kind) : output_(output), size_(size), kind_(kind) {
        const auto* object = entry.as<json::Object>();
        if (!object) fail("expected an object");
        for (const auto& [key, value] : *object)
            if (key != "min" && key != "max" && key != "max_change" && key != "initial")
                fail("unknown entry '" + key + "', expected min, max, max_change, initial");
        min = read(entry, "min", -largest);
        max = read(entry, "max", largest);
        max_change = read(entry, "max_change", largest);
        initial = read(entry, "initial", std::nanf(""));
        for (std::size_t i = 0; i < min.size() && i < max.size(); ++i)
            if (min[i] > max[i]) fail("min is above max in element " + std::to_string(i));
        for (const float change : max_change)
            if (!(change > 0)) fail("max_change: expected positive numbers");
        if (!initial.empty() && max_change.empty()) fail("initial is for max_change, which is not there");
        for (std::size_t i = 0; i < initial.size(); ++i) {
            if (std::isnan(initial[i])) fail("initial: expected a number for every element");
            if ((!min.empty() && initial[i] < min[i]) || (!max.empty() && initial[i] > max[i])) fail("initial is outside min and max in element " + std::to_string(i));
        }
    }

    std::vector<float> min, max, max_change, initial;   // of each element; empty when not given

private:
    [[noreturn]] void fail(const std::string& why) const { throw Error(kind_, std::string(limits_key) + ", output '" + output_ + "': " + why); }

    std::vector<float> read(const json::Value& entry, const char* key, float none) const {
        const json::Value* value = entry.find(key);
        if (!value || value->as<std::nullptr_t>()) return {};
        const auto* list = value->as<json::Array>();
        if (!list) return std::vector<float>(size_, number(*value, key, none));
        if (list->size() != size_) fail(std::string(key) + ": expected a number or " + std::to_string(size_) + " of them, found " + std::to_string(list->size()));
        std::vector<float> out;
        for (const json::Value& item : *list) out.push_back(number(item, key, none));
        return out;
    }

    float number(const json::Value& value, const char* key, float none) const {
        double number = 0;
        if (value.as<std::nullptr_t>()) return none;
        if (const auto* i = value.as<std::int64_t>()) number = static_cast<double>(*i);
        else if (const auto* d = value.as<double>()) number = *d;
        else fail(std::string(key) + ": expected a number");
        if (!(std::abs(number) <= static_cast<double>(largest))) fail(std::string(key) + ": a number is beyond the range of float32");
        return static_cast<float>(number);
    }

    const std::string& output_;
    std::size_t size_;
    ErrorKind kind_;
};

// Adds the nodes.
class Limiter {
public:
    explicit Limiter(Graph& graph) : graph_(graph), counts_(graph.is_causal()) {}

    // Gives the value that takes the place of `raw`.
    std::string limit(const std::string& output, const std::string& raw, const Limits& limits) {
        prefix_ = "limits." + output + ".";
        shape_ = graph_.shape(raw);
        std::string value = raw;
        if (!limits.min.empty()) value = node("max", {value, tensor("min", limits.min)}, "not_below");
        if (!limits.max.empty()) value = node("min", {value, tensor("max", limits.max)}, "within");
        std::string lowest, highest;
        if (!limits.max_change.empty()) {
            std::string change = tensor("max_change", limits.max_change);
            graph_.add_state(last(), shape_, limits.initial.empty() ? "" : tensor("initial", limits.initial));
            if (limits.initial.empty()) change = node("add", {change, first()}, "change");
            value = node("max", {value, node("sub", {last(), change}, "lowest")}, "not_falling");
            value = node("min", {value, node("add", {last(), change}, "highest")}, "slowed");
        }
        if (value == raw) return raw;
        // NaN where the raw value is not finite, so that the step is refused although the value within limits looks good.
        const std::vector<float> zeros(static_cast<std::size_t>(element_count(shape_)));
        value = node("add", {value, node("mul", {raw, tensor("zero", zeros)}, "finite")}, "limited");
        if (!limits.max_change.empty()) graph_.set_next(last(), value);
        if (counts_) count(value, raw);
        return value;
    }

    // To be called when all outputs are limited.
    void finish() {
        if (acted_.empty()) return;
        graph_.add_state(limit_count_name, {1});
        graph_.add_node({"add", limit_count_name, {limit_count_name, acted_}, {"limits.new_count"}, {}});
        graph_.set_next(limit_count_name, "limits.new_count");
    }

private:
    std::string last() const { return prefix_ + "last"; }

    std::string tensor(const char* name, const std::vector<float>& data) {
        graph_.add_tensor(prefix_ + name, shape_, data.data());
        return prefix_ + name;
    }

    std::string node(const char* op, const std::vector<std::string>& inputs, const char* name, Attributes attributes = {}) {
        graph_.add_node({op, prefix_ + name, inputs, {prefix_ + name}, std::move(attributes)});
        return prefix_ + name;
    }

    // Room for any change in the first timestep, and none from then on.
    std::string first() {
        if (!graph_.has_value("limits.first")) {
            const float none = 0;
            graph_.add_tensor("limits.any_change", {1}, &largest);
            graph_.add_tensor("limits.no_change", {1}, &none);
            graph_.add_state("limits.first", {1}, "limits.any_change");
            graph_.set_next("limits.first", "limits.no_change");
        }
        return "limits.first";
    }

    // 1 when any element of any output was changed, else 0.
    void count(const std::string& value, const std::string& raw) {
        const std::string size = node("abs", {node("sub", {value, raw}, "difference")}, "size");
        std::vector<std::int64_t> axes(shape_.size());
        for (std::size_t i = 0; i < axes.size(); ++i) axes[i] = static_cast<std::int64_t>(i);
        const std::string largest_size = axes.empty() ? node("reshape", {size}, "largest", {{"shape", std::vector<std::int64_t>{1}}})
                                                      : node("reduce_max", {size}, "largest", {{"axes", axes}});
        const std::string acted = node("sign", {largest_size}, "acted");
        acted_ = acted_.empty() ? acted : node("max", {acted_, acted}, "any");
    }

    Graph& graph_;
    bool counts_;   // where passes run one after the other there is no Stream to count for
    std::string prefix_, acted_;
    Shape shape_;
};

}  // namespace

Graph with_limits(const Graph& graph, const PlanOptions& options) {
    Graph limited = graph;
    const auto entry = graph.metadata().find(limits_key);
    const std::string text = options.limits ? *options.limits : entry != graph.metadata().end() ? entry->second : "";
    if (text.empty()) return limited;
    const ErrorKind kind = options.limits ? ErrorKind::invalid_argument : ErrorKind::invalid_graph;
    const auto fail = [&](const std::string& why) { throw Error(kind, std::string(limits_key) + ": " + why); };
    json::Value value;
    try {
        value = json::parse(text);
    } catch (const std::invalid_argument& error) {
        fail(error.what());
    }
    const auto* object = value.as<json::Object>();
    if (!object) {
        fail("expected an object of the outputs to limit");
    } else {
        for (const auto& [name, ignored] : *object) {
            bool found = false;
            for (const Output& output : graph.outputs()) found = found || output.name == name;
            if (!found) fail("there is no output '" + name + "'");
        }
    }
    Limiter limiter(limited);
    for (std::size_t i = 0; i < graph.outputs().size(); ++i) {
        const Output& output = graph.outputs()[i];
        const json::Value* asked = value.find(output.name);
        if (!asked) continue;
        const Limits limits(output.name, *asked, static_cast<std::size_t>(element_count(graph.output_shape(i))), kind);
        limited.set_output(i, limiter.limit(output.name, output.value, limits));
    }
    limiter.finish();
    return limited;
}

}  // namespace rtrnn
