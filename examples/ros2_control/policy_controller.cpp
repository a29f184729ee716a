// The controller as ros2_control loads it. NOT TESTED HERE: it needs ROS 2 (controller_interface, pluginlib), which this project's tests do
// not have; it is built only where CMake finds them. All that computes is in PolicyCore, which is tested.
#include <controller_interface/controller_interface.hpp>
#include <pluginlib/class_list_macros.hpp>

#include <string>
#include <vector>

#include "policy_core.hpp"

namespace rtrnn_example {

using controller_interface::CallbackReturn;

// Parameters: model, the path of a .rtrnn file; observations and commands, the names of interfaces such as "hip/position", in the order of
// the network's inputs and outputs.
class PolicyController : public controller_interface::ControllerInterface {
public:
    CallbackReturn on_init() override {
        auto_declare<std::string>("model", "");
        auto_declare<std::vector<std::string>>("observations", {});
        auto_declare<std::vector<std::string>>("commands", {});
        return CallbackReturn::SUCCESS;
    }

    CallbackReturn on_configure(const rclcpp_lifecycle::State&) override {
        observations_ = get_node()->get_parameter("observations").as_string_array();
        commands_ = get_node()->get_parameter("commands").as_string_array();
        if (!core_.configure(get_node()->get_parameter("model").as_string())) {
            RCLCPP_ERROR(get_node()->get_logger(), "%s", core_.error().c_str());
            return CallbackReturn::ERROR;
        }
        if (observations_.size() != core_.observation().size() || commands_.size() != core_.command().size()) {
            RCLCPP_ERROR(get_node()->get_logger(), "the network has %zu inputs and %zu outputs, found %zu observations and %zu commands",
                         core_.observation().size(), core_.command().size(), observations_.size(), commands_.size());
            return CallbackReturn::ERROR;
        }
        return CallbackReturn::SUCCESS;
    }

    controller_interface::InterfaceConfiguration state_interface_configuration() const override {
        return {controller_interface::interface_configuration_type::INDIVIDUAL, observations_};
    }
    controller_interface::InterfaceConfiguration command_interface_configuration() const override {
        return {controller_interface::interface_configuration_type::INDIVIDUAL, commands_};
    }

    CallbackReturn on_activate(const rclcpp_lifecycle::State&) override {
        core_.activate();
        return CallbackReturn::SUCCESS;
    }

    controller_interface::return_type update(const rclcpp::Time&, const rclcpp::Duration&) override {
        for (std::size_t i = 0; i < state_interfaces_.size(); ++i) core_.observation()[i] = static_cast<float>(state_interfaces_[i].get_value());
        const bool good = core_.update();
        for (std::size_t i = 0; i < command_interfaces_.size(); ++i) command_interfaces_[i].set_value(core_.command()[i]);
        core_.idle();
        return good ? controller_interface::return_type::OK : controller_interface::return_type::ERROR;
    }

private:
    PolicyCore core_;
    std::vector<std::string> observations_, commands_;
};

}  // namespace rtrnn_example

PLUGINLIB_EXPORT_CLASS(rtrnn_example::PolicyController, controller_interface::ControllerInterface)
