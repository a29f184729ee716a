/* RTRNN_NONBLOCKING, behind the parameters (and noexcept) of a function: it allocates nothing, takes no lock, makes no system call and
 * throws nothing. Clang 20 and later check that of everything such a function can reach (-Wfunction-effects); others see nothing.
 */
#ifndef RTRNN_REALTIME_H
#define RTRNN_REALTIME_H

#if defined(__cplusplus) && defined(__has_cpp_attribute)
#if __has_cpp_attribute(clang::nonblocking)
#define RTRNN_NONBLOCKING [[clang::nonblocking]]
#endif
#endif
#ifndef RTRNN_NONBLOCKING
#define RTRNN_NONBLOCKING
#endif

#endif
