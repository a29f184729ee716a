// rtrnn._core: the cold half of the Python API (Graph, Plan, offline runs, inspection). Nothing here is called per timestep.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench.hpp"
#include "capi/capi.hpp"
#include "graph/file.hpp"
#include "graph/graph.hpp"
#include "kernels/dispatch.hpp"
#include "ops/op.hpp"
#include "plan.hpp"
#include "plan/limits.hpp"
#include "rtrnn/rtrnn.h"
#include "stream/sequence.hpp"

namespace py = pybind11;
using namespace py::literals;
using namespace rtrnn;

namespace {

using FloatArray = py::array_t<float, py::array::c_style | py::array::forcecast>;

py::array_t<float> to_array(const Shape& shape, const float* data) {
    py::array_t<float> out(shape);
    std::memcpy(out.mutable_data(), data, static_cast<std::size_t>(out.nbytes()));
    return out;
}

Attribute to_attribute(const py::handle& value, const std::string& key) {
    if (py::isinstance<py::bool_>(value)) return static_cast<std::int64_t>(value.cast<bool>());
    if (py::isinstance<py::int_>(value)) return value.cast<std::int64_t>();
    if (py::isinstance<py::float_>(value)) return value.cast<double>();
    if (py::isinstance<py::str>(value)) return value.cast<std::string>();
    if (py::isinstance<py::sequence>(value)) {
        const auto items = py::reinterpret_borrow<py::sequence>(value);
        bool all_int = true, all_text = py::len(items) > 0;
        for (const py::handle item : items) {
            all_int = all_int && py::isinstance<py::int_>(item);
            all_text = all_text && py::isinstance<py::str>(item);
        }
        if (all_int) return value.cast<std::vector<std::int64_t>>();
        if (all_text) return value.cast<std::vector<std::string>>();
        return value.cast<std::vector<double>>();
    }
    throw py::type_error("attribute '" + key + "': expected int, float, str or a list of one of these");
}

py::object from_attribute(const Attribute& attribute) {
    return std::visit([](const auto& value) -> py::object { return py::cast(value); }, attribute);
}

py::dict attributes_dict(const Node& node) {
    py::dict out;
    for (const auto& [key, value] : node.attributes) out[py::str(key)] = from_attribute(value);
    return out;
}

OnNonFinite parse_on_nonfinite(const std::string& text) {
    if (text == "error") return OnNonFinite::error;
    if (text == "hold") return OnNonFinite::hold;
    if (text == "propagate") return OnNonFinite::propagate;
    throw py::value_error("on_nonfinite: expected 'error', 'hold' or 'propagate', found '" + text + "'");
}

py::tuple shape_tuple(const Shape& shape) { return py::tuple(py::cast(shape)); }

std::string status_text(Status status, std::size_t at) {
    const std::string where = " at timestep " + std::to_string(at);
    return status == Status::nonfinite_input ? "an input is NaN or infinite" + where : "an output or a state became NaN or infinite" + where;
}

// Inputs: arrays of (count, input size) in declared order. Outputs likewise, or (output size) for an output that exists once.
py::list run_sequence(const Sequence& sequence, const std::vector<FloatArray>& inputs, std::size_t count, const std::vector<std::size_t>& output_sizes) {
    std::vector<const float*> in;
    std::vector<float*> out;
    std::vector<py::array_t<float>> results;
    for (const FloatArray& array : inputs) in.push_back(array.data());
    for (std::size_t i = 0; i < output_sizes.size(); ++i) {
        std::vector<py::ssize_t> shape;
        if (sequence.is_per_timestep(i)) shape.push_back(static_cast<py::ssize_t>(count));
        shape.push_back(static_cast<py::ssize_t>(output_sizes[i]));
        results.emplace_back(shape);
        out.push_back(results.back().mutable_data());
    }
    Status status;
    std::size_t failed_at = 0;
    {
        py::gil_scoped_release release;
        status = sequence.run(in, out, count, &failed_at);
    }
    if (status != Status::ok && status != Status::held) {
        const py::object error = py::module_::import("rtrnn.errors").attr("NonFiniteError");
        PyErr_SetString(error.ptr(), status_text(status, failed_at).c_str());
        throw py::error_already_set();
    }
    return py::cast(results);
}

void translate(std::exception_ptr pointer) {
    try {
        if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
        const char* name = "GraphError";
        switch (error.kind()) {
            case ErrorKind::invalid_graph: break;
            case ErrorKind::invalid_file: name = "FileFormatError"; break;
            case ErrorKind::unsupported: name = "UnsupportedError"; break;
            case ErrorKind::invalid_argument: PyErr_SetString(PyExc_ValueError, error.what()); return;
            case ErrorKind::io: PyErr_SetString(PyExc_OSError, error.what()); return;
        }
        const py::object type = py::module_::import("rtrnn.errors").attr(name);
        PyErr_SetString(type.ptr(), error.what());
    }
}

void bind_graph(py::module_& m) {
    py::class_<Input>(m, "Input").def_readonly("name", &Input::name).def_property_readonly("shape", [](const Input& i) { return shape_tuple(i.shape); });
    py::class_<Output>(m, "Output").def_readonly("name", &Output::name).def_readonly("value", &Output::value);
    py::class_<State>(m, "State")
        .def_readonly("name", &State::name)
        .def_property_readonly("shape", [](const State& s) { return shape_tuple(s.shape); })
        .def_readonly("initial", &State::initial)
        .def_readonly("next", &State::next);
    py::class_<Node>(m, "Node")
        .def_readonly("op", &Node::op)
        .def_readonly("name", &Node::name)
        .def_readonly("inputs", &Node::inputs)
        .def_readonly("outputs", &Node::outputs)
        .def_property_readonly("attributes", attributes_dict);

    py::class_<Graph, std::shared_ptr<Graph>>(m, "Graph")
        .def(py::init<>())
        .def("add_input", &Graph::add_input, "name"_a, "shape"_a)
        .def("add_tensor",
             [](Graph& graph, const std::string& name, const FloatArray& array) {
                 Shape shape(array.shape(), array.shape() + array.ndim());
                 graph.add_tensor(name, shape, array.data());
             },
             "name"_a, "array"_a)
        .def("add_state", &Graph::add_state, "name"_a, "shape"_a, "initial"_a = "")
        .def("add_node",
             [](Graph& graph, const std::string& op, const std::string& name, std::vector<std::string> inputs, std::vector<std::string> outputs, const py::dict& attributes) {
                 Node node{op, name, std::move(inputs), std::move(outputs), {}};
                 for (const auto& [key, value] : attributes) {
                     const auto text = key.cast<std::string>();
                     node.attributes[text] = to_attribute(value, text);
                 }
                 graph.add_node(std::move(node));
             },
             "op"_a, "name"_a, "inputs"_a, "outputs"_a, "attributes"_a = py::dict())
        .def("set_next", &Graph::set_next, "state"_a, "value"_a)
        .def("add_output", &Graph::add_output, "name"_a, "value"_a)
        .def("validate", &Graph::validate)
        .def_property_readonly("inputs", &Graph::inputs)
        .def_property_readonly("outputs", &Graph::outputs)
        .def_property_readonly("states", &Graph::states)
        .def_property_readonly("nodes", &Graph::nodes)
        .def_property_readonly("tensor_names", [](const Graph& graph) {
            std::vector<std::string> names;
            for (const Tensor& tensor : graph.tensors()) names.push_back(tensor.name);
            return names;
        })
        .def("tensor", [](const Graph& graph, const std::string& name) {
            const Tensor* tensor = graph.find_tensor(name);
            if (!tensor) throw py::key_error("there is no tensor '" + name + "'");
            return to_array(tensor->shape, tensor->data.get());
        }, "name"_a)
        .def("shape", [](const Graph& graph, const std::string& value) { return shape_tuple(graph.shape(value)); }, "value"_a)
        .def("has_value", &Graph::has_value, "name"_a)
        .def_property_readonly("metadata", [](const Graph& graph) { return graph.metadata(); })
        .def("set_metadata", [](Graph& graph, const std::string& key, const std::string& text) { graph.metadata()[key] = text; }, "key"_a, "text"_a)
        .def_property_readonly("is_causal", &Graph::is_causal)
        .def_property_readonly("fingerprint", &Graph::fingerprint)
        .def("limited", [](const Graph& graph) { return std::make_shared<Graph>(with_limits(graph, {})); },
             "The Graph with the limits that its metadata ask for.")
        .def("save", [](const Graph& graph, const std::string& path) { save_graph(graph, path); }, "path"_a)
        .def("to_bytes", [](const Graph& graph) {
            const std::vector<char> bytes = serialize_graph(graph);
            return py::bytes(bytes.data(), bytes.size());
        })
        .def_static("load", [](const std::string& path) { return std::make_shared<Graph>(load_graph(path)); }, "path"_a)
        .def_static("from_bytes", [](const py::bytes& bytes) {
            const std::string_view view = bytes;
            return std::make_shared<Graph>(parse_graph(view.data(), view.size()));
        }, "data"_a)
        .def(py::pickle(
            [](const Graph& graph) {
                const std::vector<char> bytes = serialize_graph(graph);
                return py::bytes(bytes.data(), bytes.size());
            },
            [](const py::bytes& bytes) {
                const std::string_view view = bytes;
                return std::make_shared<Graph>(parse_graph(view.data(), view.size()));
            }));
}

void bind_plan(py::module_& m) {
    py::class_<PythonPlan, std::shared_ptr<PythonPlan>>(m, "Plan")
        .def(py::init([](std::shared_ptr<Graph> graph, const std::string& weights, const std::string& isa, std::map<std::string, std::string> overrides,
                         std::optional<std::string> limits, int threads, std::vector<int> cpus, double spin_ms, std::optional<double> delta) {
                 if (delta && !(*delta >= 0)) throw py::value_error("delta: expected a threshold from 0 on");
                 PlanOptions options{weights, isa, std::move(overrides), std::move(limits)};
                 options.threads.count = threads;
                 options.threads.cpus = std::move(cpus);
                 options.threads.spin_ms = spin_ms;
                 options.delta = delta.value_or(-1);
                 return std::make_shared<PythonPlan>(std::move(graph), std::move(options));
             }),
             "graph"_a, "weights"_a = "f32", "isa"_a = "", "overrides"_a = std::map<std::string, std::string>{}, "limits"_a = py::none(), "threads"_a = 1,
             "cpus"_a = std::vector<int>{}, "spin_ms"_a = ThreadOptions{}.spin_ms, "delta"_a = py::none())
        .def_property_readonly("isa", [](const PythonPlan& plan) { return plan.kernels().name; })
        .def_property_readonly("inputs", [](const PythonPlan& plan) {
            py::list out;
            for (const Slot& slot : plan.inputs()) out.append(py::make_tuple(slot.name, shape_tuple(slot.shape)));
            return out;
        })
        .def_property_readonly("outputs", [](const PythonPlan& plan) {
            py::list out;
            for (const Slot& slot : plan.outputs()) out.append(py::make_tuple(slot.name, shape_tuple(slot.shape)));
            return out;
        })
        .def_property_readonly("states", [](const PythonPlan& plan) {
            py::list out;
            for (const Slot& slot : plan.states()) out.append(py::make_tuple(slot.name, shape_tuple(slot.shape), slot.offset - plan.state_offset()));
            return out;
        })
        .def_property_readonly("constant_bytes", [](const PythonPlan& plan) { return plan.constant_bytes(); })
        .def_property_readonly("weights", [](const PythonPlan& plan) {
            std::map<std::string, std::string> out;
            for (const auto& [matrix, precision] : plan.matrices()) out[matrix] = precision->name;
            return out;
        }, "The precision of each matrix, by 'NODE.ROLE'.")
        .def_property_readonly("stream_bytes", [](const std::shared_ptr<PythonPlan>& plan) { return Stream(plan).memory_bytes(); })
        .def_property_readonly("fingerprint", [](const PythonPlan& plan) { return plan.fingerprint(); })
        .def_property_readonly("structure", [](const PythonPlan& plan) { return plan.structure(); })
        .def_property_readonly("calls", [](const PythonPlan& plan) {
            return py::dict("step"_a = plan.step_calls().size(), "prepare"_a = plan.prepare_calls().size(), "finish"_a = plan.finish_calls().size());
        })
        .def_property_readonly("graph", [](const PythonPlan& plan) { return std::const_pointer_cast<Graph>(plan.graph); }, "What it was made from.")
        .def_property_readonly("delta", [](const PythonPlan& plan) { return plan.options.delta < 0 ? std::nullopt : std::optional<double>(plan.options.delta); },
                               "The threshold of delta updates, if any.")
        .def_property_readonly("threads", [](const PythonPlan& plan) { return plan.threads().count; })
        .def_property_readonly("divided_calls", [](const PythonPlan& plan) {
            return std::count_if(plan.step_calls().begin(), plan.step_calls().end(), [](const Call& call) { return call.parts > 1; });
        })
        .def(py::pickle(
            [](const PythonPlan& plan) {
                const PlanOptions& options = plan.options;
                return py::make_tuple(std::const_pointer_cast<Graph>(plan.graph), options.weights, options.isa, options.overrides, options.limits,
                                      options.threads.count, options.threads.cpus, options.threads.spin_ms, options.delta);
            },
            [](const py::tuple& from) {
                PlanOptions options{from[1].cast<std::string>(), from[2].cast<std::string>(), from[3].cast<std::map<std::string, std::string>>(),
                                    from[4].cast<std::optional<std::string>>()};
                options.threads.count = from[5].cast<int>();
                options.threads.cpus = from[6].cast<std::vector<int>>();
                options.threads.spin_ms = from[7].cast<double>();
                options.delta = from[8].cast<double>();
                return std::make_shared<PythonPlan>(from[0].cast<std::shared_ptr<Graph>>(), std::move(options));
            }))
        // A C handle on this Plan for rtrnn._stream.
        .def("_handle", [](const std::shared_ptr<PythonPlan>& plan) {
            return py::capsule(new rtrnn_plan(plan), "rtrnn_plan", [](PyObject* capsule) {
                rtrnn_plan_free(static_cast<rtrnn_plan*>(PyCapsule_GetPointer(capsule, "rtrnn_plan")));
            });
        });

    py::class_<Sequence>(m, "Sequence")
        .def(py::init([](const Graph& graph, const std::string& weights, const std::string& isa, const std::string& on_nonfinite,
                         std::map<std::string, std::string> overrides, std::optional<std::string> limits) {
                 return std::make_unique<Sequence>(graph, PlanOptions{weights, isa, std::move(overrides), std::move(limits)}, parse_on_nonfinite(on_nonfinite));
             }),
             "graph"_a, "weights"_a = "f32", "isa"_a = "", "on_nonfinite"_a = "error",
             "overrides"_a = std::map<std::string, std::string>{}, "limits"_a = py::none())
        .def("is_per_timestep", &Sequence::is_per_timestep, "output"_a)
        .def("run", &run_sequence, "inputs"_a, "count"_a, "output_sizes"_a);
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
    m.doc() = "The C++ core: Graph, Plan and offline runs.";
    py::register_exception_translator(&translate);
    bind_graph(m);
    bind_plan(m);
    bind_bench(m);
    m.def("isa_available", &available_isas, "The instruction sets this build and this CPU both have, best first.");
    m.def("op_names", &op_names);
    m.def("version", [] { return std::string(rtrnn_version()); });
}
