// Visibility of the symbols that the shared core library exports.
#pragma once

#if defined(_WIN32) && defined(RTRNN_BUILDING)
#define RTRNN_EXPORT __declspec(dllexport)
#elif defined(_WIN32) && defined(RTRNN_STATIC)
#define RTRNN_EXPORT
#elif defined(_WIN32)
#define RTRNN_EXPORT __declspec(dllimport)
#else
#define RTRNN_EXPORT __attribute__((visibility("default")))
#endif
