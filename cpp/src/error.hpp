// The one exception type of the core; its message names what was expected and what was found.
#pragma once

#include <stdexcept>
#include <string>

#include "export.hpp"

namespace rtrnn {

enum class ErrorKind { invalid_graph, invalid_file, unsupported, invalid_argument, io };

class RTRNN_EXPORT Error : public std::runtime_error {
public:
    Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
    ErrorKind kind() const noexcept { return kind_; }

private:
    ErrorKind kind_;
};

}  // namespace rtrnn
