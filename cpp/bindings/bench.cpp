// The limits of the machine and steps timed without Python, for rtrnn.bench.
#include "bench.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "bench/call_timer.hpp"
#include "bench/limits.hpp"
#include "bench/step_timer.hpp"
#include "error.hpp"
#include "plan.hpp"

namespace py = pybind11;
using namespace py::literals;
using namespace rtrnn;

namespace {

using FloatArray = py::array_t<float, py::array::c_style | py::array::forcecast>;

TimedPart parse_part(const std::string& text) {
    if (text == "step") return TimedPart::step;
    if (text == "prepare") return TimedPart::prepare;
    if (text == "finish") return TimedPart::finish;
    throw py::value_error("part: expected 'step', 'prepare' or 'finish', found '" + text + "'");
}

py::tuple rate(const Rate& rate) { return py::make_tuple(rate.median, rate.high); }

py::list read_limits(const std::vector<ReadLimit>& limits) {
    py::list out;
    for (const ReadLimit& limit : limits)
        out.append(py::dict("name"_a = limit.name, "capacity"_a = limit.capacity, "working_set"_a = limit.working_set,
                            "gigabytes_per_second"_a = rate(limit.gigabytes_per_second)));
    return out;
}

}  // namespace

void bind_bench(py::module_& m) {
    m.def("timer_overhead_ns", &timer_overhead_ns, "What two reads of the clock in C++ with nothing between them show.");
    py::class_<LimitProbes>(m, "LimitProbes")
        .def(py::init<const std::vector<std::size_t>&>(), "working_sets"_a = std::vector<std::size_t>())
        .def("one_turn", &LimitProbes::one_turn)
        .def("medians", [](const LimitProbes& probes) {
            const Limits limits = probes.medians();
            return py::dict("levels"_a = read_limits(limits.levels), "sizes"_a = read_limits(limits.sizes), "gigaflops"_a = rate(limits.gigaflops),
                            "timer_ns"_a = limits.timer_ns, "turns"_a = limits.turns);
        });

    py::class_<StepTimer>(m, "StepTimer")
        .def(py::init([](const std::shared_ptr<PythonPlan>& plan, const FloatArray& rows) {
                 return std::make_unique<StepTimer>(plan, std::vector<float>(rows.data(), rows.data() + rows.size()));
             }),
             "plan"_a, "rows"_a)
        .def("block", &StepTimer::block, "count"_a)
        .def("singles", [](StepTimer& timer, std::size_t count, const std::string& part) {
            py::array_t<std::int64_t> taken(static_cast<py::ssize_t>(count));
            timer.singles(count, parse_part(part), taken.mutable_data());
            return taken;
        }, "count"_a, "part"_a = "step")
        .def_property_readonly("outputs", [](const StepTimer& timer) {
            return py::array_t<float>(static_cast<py::ssize_t>(timer.outputs().size()), timer.outputs().data());
        });

    py::class_<CallTimer>(m, "CallTimer")
        .def(py::init([](const std::shared_ptr<PythonPlan>& plan, const FloatArray& rows) {
                 return std::make_unique<CallTimer>(plan, std::vector<float>(rows.data(), rows.data() + rows.size()));
             }),
             "plan"_a, "rows"_a)
        .def_property_readonly("nodes", [](const CallTimer& timer) { return timer.plan().step_nodes(); })
        .def("steps", [](CallTimer& timer, std::size_t count) {
            py::array_t<std::int64_t> taken({count, timer.plan().step_calls().size() + 1});
            timer.steps(count, taken.mutable_data());
            return taken;
        }, "count"_a);
}
