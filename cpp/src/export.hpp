// Visibility of the symbols that the shared core library exports.
#pragma once

#if defined(_WIN32)
#if defined(RTRNN_BUILDING)
#define RTRNN_EXPORT __declspec(dllexport)
#else
#define RTRNN_EXPORT __declspec(dllimport)
#endif
#else
#define RTRNN_EXPORT __attribute__((visibility("default")))
#endif
