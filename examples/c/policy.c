/* Steps a network over a file of float32 observations and prints the bits of its actions. */
#include <rtrnn/rtrnn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void describe(const rtrnn_plan* plan) {
    static const char* const kinds[] = {"input", "output", "state"};
    for (int port = RTRNN_INPUT; port <= RTRNN_STATE; ++port)
        for (size_t i = 0; i < rtrnn_plan_port_count(plan, (rtrnn_port)port); ++i)
            fprintf(stderr, "%s %s: %zu values\n", kinds[port], rtrnn_plan_port_name(plan, (rtrnn_port)port, i),
                    rtrnn_plan_port_size(plan, (rtrnn_port)port, i));
    for (size_t i = 0; i < rtrnn_plan_metadata_count(plan); ++i)
        fprintf(stderr, "%s = %s\n", rtrnn_plan_metadata_key(plan, i), rtrnn_plan_metadata_text(plan, i));
}

static size_t total(const rtrnn_plan* plan, rtrnn_port port) {
    size_t size = 0;
    for (size_t i = 0; i < rtrnn_plan_port_count(plan, port); ++i) size += rtrnn_plan_port_size(plan, port, i);
    return size;
}

static int run(rtrnn_stream* stream, FILE* file, float* x, size_t x_size, float* y, size_t y_size) {
    while (fread(x, sizeof(float), x_size, file) == x_size) {
        const rtrnn_status status = rtrnn_stream_step_copy(stream, x, x_size, y, y_size);
        if (status > RTRNN_HELD) {
            fprintf(stderr, "step %" PRIu64 ": %s\n", rtrnn_stream_steps(stream), rtrnn_status_text(status));
            return EXIT_FAILURE;
        }
        for (size_t i = 0; i < y_size; ++i) {
            uint32_t bits;
            memcpy(&bits, y + i, sizeof bits);
            printf("%s%08" PRIx32, i ? " " : "", bits);
        }
        putchar('\n');
        rtrnn_stream_prepare(stream); /* in the idle time of a control loop */
    }
    return EXIT_SUCCESS;
}

int main(int argc, char** argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s policy.rtrnn observations.f32\n", argv[0]);
        return 2;
    }
    rtrnn_plan* plan = NULL;
    rtrnn_stream* stream = NULL;
    if (rtrnn_plan_load(argv[1], NULL, &plan) != RTRNN_OK || rtrnn_stream_create(plan, RTRNN_ON_NONFINITE_ERROR, &stream) != RTRNN_OK) {
        fprintf(stderr, "%s\n", rtrnn_last_error());
        rtrnn_plan_free(plan);
        return EXIT_FAILURE;
    }
    describe(plan);
    const size_t x_size = total(plan, RTRNN_INPUT), y_size = total(plan, RTRNN_OUTPUT);
    rtrnn_plan_free(plan); /* the stream keeps what it needs */

    int result = EXIT_FAILURE;
    float* values = malloc((x_size + y_size) * sizeof(float));
    FILE* file = fopen(argv[2], "rb");
    if (!file) perror(argv[2]);
    if (file && values) result = run(stream, file, values, x_size, values + x_size, y_size);
    if (file) fclose(file);
    free(values);
    rtrnn_stream_free(stream);
    return result;
}
