/* Prints the sizes, offsets and values of rtrnn.h, one line each; layout.txt pins them. */
#include <rtrnn/rtrnn.h>
#include <stdio.h>

#define SIZE(type) printf("sizeof %s = %zu\n", #type, sizeof(type))
#define FIELD(type, field) printf("%s.%s at %zu, %zu bytes\n", #type, #field, offsetof(type, field), sizeof(((type*)0)->field))
#define VALUE(name) printf("%s = %d\n", #name, (int)(name))

int main(void) {
    VALUE(RTRNN_ABI_VERSION);
    SIZE(rtrnn_status);
    VALUE(RTRNN_OK);
    VALUE(RTRNN_HELD);
    VALUE(RTRNN_NONFINITE_INPUT);
    VALUE(RTRNN_NONFINITE_RESULT);
    VALUE(RTRNN_BUSY);
    VALUE(RTRNN_INVALID_ARGUMENT);
    VALUE(RTRNN_INVALID_HANDLE);
    VALUE(RTRNN_STATE_MISMATCH);
    VALUE(RTRNN_INVALID_FILE);
    VALUE(RTRNN_UNSUPPORTED);
    VALUE(RTRNN_IO);
    VALUE(RTRNN_OUT_OF_MEMORY);
    VALUE(RTRNN_SYSTEM);
    VALUE(RTRNN_INTERNAL);
    VALUE(RTRNN_STATE_DAMAGED);
    SIZE(rtrnn_on_nonfinite);
    VALUE(RTRNN_ON_NONFINITE_ERROR);
    VALUE(RTRNN_ON_NONFINITE_HOLD);
    VALUE(RTRNN_ON_NONFINITE_PROPAGATE);
    SIZE(rtrnn_port);
    VALUE(RTRNN_INPUT);
    VALUE(RTRNN_OUTPUT);
    VALUE(RTRNN_STATE);
    SIZE(rtrnn_const_span);
    FIELD(rtrnn_const_span, data);
    FIELD(rtrnn_const_span, size);
    SIZE(rtrnn_span);
    FIELD(rtrnn_span, data);
    FIELD(rtrnn_span, size);
    SIZE(rtrnn_override);
    FIELD(rtrnn_override, matrix);
    FIELD(rtrnn_override, weights);
    SIZE(rtrnn_options);
    FIELD(rtrnn_options, struct_size);
    FIELD(rtrnn_options, weights);
    FIELD(rtrnn_options, isa);
    FIELD(rtrnn_options, overrides);
    FIELD(rtrnn_options, override_count);
    FIELD(rtrnn_options, threads);
    FIELD(rtrnn_options, reserved);
    FIELD(rtrnn_options, limits);
    FIELD(rtrnn_options, cpus);
    FIELD(rtrnn_options, spin_ms);
    FIELD(rtrnn_options, delta);
    SIZE(rtrnn_loop_options);
    FIELD(rtrnn_loop_options, struct_size);
    FIELD(rtrnn_loop_options, period_ns);
    FIELD(rtrnn_loop_options, deadline_ns);
    FIELD(rtrnn_loop_options, lead_ns);
    FIELD(rtrnn_loop_options, stale_ns);
    FIELD(rtrnn_loop_options, watchdog);
    FIELD(rtrnn_loop_options, watchdog_size);
    FIELD(rtrnn_loop_options, priority);
    FIELD(rtrnn_loop_options, cpu);
    FIELD(rtrnn_loop_options, lock_memory);
    FIELD(rtrnn_loop_options, reserved);
    SIZE(rtrnn_loop_action_info);
    FIELD(rtrnn_loop_action_info, sequence);
    FIELD(rtrnn_loop_action_info, age_ns);
    FIELD(rtrnn_loop_action_info, status);
    FIELD(rtrnn_loop_action_info, watchdog);
    SIZE(rtrnn_loop_counters);
    SIZE(rtrnn_loop_time);
    VALUE(RTRNN_LOOP_STEP);
    VALUE(RTRNN_LOOP_RESPONSE);
    VALUE(RTRNN_LOOP_WAKE_UP);
    VALUE(RTRNN_LOOP_PREPARE);
    SIZE(rtrnn_loop_times);
    FIELD(rtrnn_loop_times, mean_ns);
    FIELD(rtrnn_loop_times, p50_ns);
    FIELD(rtrnn_loop_times, p9999_ns);
    return 0;
}
