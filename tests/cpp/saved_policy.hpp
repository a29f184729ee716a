// The bytes of a small policy's .rtrnn file, for tests that see the public headers alone.
#pragma once

#include <vector>

std::vector<char> saved_policy(const char* op = "gru");
