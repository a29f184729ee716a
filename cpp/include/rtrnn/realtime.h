/* RTRNN_NONBLOCKING, behind the parameters (and noexcept) of a function or a type of functions: it allocates nothing, takes no lock,
 * makes no system call and throws nothing. Clang 20 and later check that of everything such a function can reach
 * (-Wfunction-effects); others see nothing.
 */
#ifndef RTRNN_REALTIME_H
#define RTRNN_REALTIME_H

#if defined(__clang__) && __clang_major__ >= 20
#if defined(__cplusplus)
#define RTRNN_NONBLOCKING [[clang::nonblocking]]
#else
#define RTRNN_NONBLOCKING __attribute__((nonblocking))
#endif
#endif
#ifndef RTRNN_NONBLOCKING
#define RTRNN_NONBLOCKING
#endif

#endif
