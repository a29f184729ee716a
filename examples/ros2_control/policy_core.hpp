// What a controller does between reading its state interfaces and writing its command interfaces, without ROS.
#pragma once

#include <rtrnn/rtrnn.hpp>

#include <string>
#include <vector>

class PolicyCore {
public:
    // Loads the network and takes all memory. Not real-time. False on failure, with the reason in error().
    bool configure(const std::string& model);
    // Back to the initial state; the commands become zero. Real-time.
    void activate() noexcept;
    // One control period: reads observation(), writes command(). On a NaN or an infinity the last commands stay and it answers false.
    // Real-time.
    bool update() noexcept;
    // What can be done before the next observation is known. Real-time.
    void idle() noexcept { stream_.prepare(); }

    rtrnn::span<float> observation() noexcept { return observation_; }
    rtrnn::span<const float> command() const noexcept { return command_; }
    const std::string& error() const noexcept { return error_; }

private:
    rtrnn::Stream stream_;
    std::vector<float> observation_, command_;
    std::string error_;
};
