// Graph: the portable description of one timestep of a network. Node types and semantics: cpp/README.md.
//
// A Graph is built by adding inputs, tensors, states and nodes in an order in which every value exists before it is
// read; each call checks names and shapes and throws rtrnn::Error, leaving the Graph as it was. It never refers to
// the CPU it runs on, and is what a .rtrnn file holds.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "error.hpp"
#include "export.hpp"

namespace rtrnn {

using Shape = std::vector<std::int64_t>;

// Number of elements; 1 for an empty shape.
RTRNN_EXPORT std::int64_t element_count(const Shape& shape);
// "(3, 4)", "(5,)"
RTRNN_EXPORT std::string to_string(const Shape& shape);

using Attribute = std::variant<std::int64_t, double, std::string, std::vector<std::int64_t>, std::vector<double>,
                               std::vector<std::string>>;
using Attributes = std::map<std::string, Attribute>;

// f32 data with its owner, which may be a mapped file.
struct Tensor {
    std::string name;
    Shape shape;
    std::shared_ptr<const float> data;
};

struct Input {
    std::string name;
    Shape shape;
};

struct Output {
    std::string name;
    std::string value;
};

// A value carried from step to step. `initial` names a tensor of the same shape, or is empty for zeros.
struct State {
    std::string name;
    Shape shape;
    std::string initial;
    std::string next;
};

struct Node {
    std::string op;
    std::string name;
    std::vector<std::string> inputs;   // an absent optional input is ""
    std::vector<std::string> outputs;
    Attributes attributes;

    bool has_input(std::size_t i) const { return i < inputs.size() && !inputs[i].empty(); }

    // Attribute readers: the default when absent; a wrong type is an Error that names node and attribute.
    std::int64_t integer(const std::string& key, std::int64_t fallback) const;
    double real(const std::string& key, double fallback) const;
    std::string text(const std::string& key, const std::string& fallback) const;
    std::vector<std::int64_t> integers(const std::string& key) const;
    std::vector<double> reals(const std::string& key) const;
    std::vector<std::string> texts(const std::string& key) const;
    bool has(const std::string& key) const { return attributes.count(key) != 0; }
};

enum class ValueKind { input, state, tensor, node };

struct Value {
    ValueKind kind;
    std::size_t index;   // into inputs, states, tensors or nodes
    std::size_t output;  // which output of the node
    Shape shape;
};

class RTRNN_EXPORT Graph {
public:
    // The largest sizes a Graph may describe; a file that claims more is refused before memory is asked for.
    static constexpr std::int64_t max_elements = std::int64_t{1} << 31;         // of a tensor
    static constexpr std::int64_t max_value_elements = std::int64_t{1} << 26;   // of an input, a state or a computed value
    static constexpr std::size_t max_rank = 8;
    static constexpr std::size_t max_names = std::size_t{1} << 20;

    void add_input(const std::string& name, const Shape& shape);
    void add_tensor(const std::string& name, const Shape& shape, std::shared_ptr<const float> data);
    void add_tensor(const std::string& name, const Shape& shape, const float* data);   // copies
    void add_state(const std::string& name, const Shape& shape, const std::string& initial = "");
    void add_node(Node node);
    void set_next(const std::string& state, const std::string& value);
    void add_output(const std::string& name, const std::string& value);
    void set_output(std::size_t i, const std::string& value);   // of the same shape

    // Checks what can only be known at the end: at least one output, every state has a next value. Weights that hold
    // NaN or infinity are refused.
    void validate() const;

    const std::vector<Input>& inputs() const { return inputs_; }
    const std::vector<Output>& outputs() const { return outputs_; }
    const std::vector<State>& states() const { return states_; }
    const std::vector<Node>& nodes() const { return nodes_; }
    const std::vector<Tensor>& tensors() const { return tensors_; }
    std::map<std::string, std::string>& metadata() { return metadata_; }
    const std::map<std::string, std::string>& metadata() const { return metadata_; }

    bool has_value(const std::string& name) const { return values_.count(name) != 0; }
    const Value& value(const std::string& name) const;            // throws when there is none
    const Shape& shape(const std::string& name) const { return value(name).shape; }
    const Tensor* find_tensor(const std::string& name) const;     // null when the value is no tensor
    // The shape of output `i` of the Graph.
    const Shape& output_shape(std::size_t i) const { return shape(outputs_[i].value); }

    // True when no cell runs over the sequence backwards, so that a Stream can run it.
    bool is_causal() const;
    // A hash over everything but the metadata; equal Graphs have equal fingerprints.
    std::uint64_t fingerprint() const;
    // A hash over what the states mean: inputs, outputs and states by name and shape, nodes and how they are connected. Weights and their
    // names do not count, so that it is the same for a network that was trained further.
    std::uint64_t structure() const;

private:
    void claim(const std::string& name, const char* what) const;

    std::vector<Input> inputs_;
    std::vector<Output> outputs_;
    std::vector<State> states_;
    std::vector<Node> nodes_;
    std::vector<Tensor> tensors_;
    std::map<std::string, std::string> metadata_;
    std::unordered_map<std::string, Value> values_;
};

}  // namespace rtrnn
