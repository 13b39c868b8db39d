#include "bench/bench.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

int bench_command(const char *name, const struct flag_table *table, void *options, int argc,
                  char **argv, enum status (*run)(const void *options, struct error *err)) {
    struct error err;
    bool help = false;
    enum status status = flags_parse(table, options, &argc, argv, &help, &err);
    if (help)
        return 0;
    if (status == STATUS_OK)
        status = run(options, &err);
    if (status != STATUS_OK)
        fprintf(stderr, "alpaca-bench %s: %s\n", name, err.message);
    return status == STATUS_OK ? 0 : 1;
}

double bench_best_time(void (*call)(void *context), void *context) {
    double best = 1e9, end = clock_seconds() + 0.1;
    int inner = 1;
    for (double start = clock_seconds(), now; start < end; start = now) {
        for (int i = 0; i < inner; i++)
            call(context);
        now = clock_seconds();
        if ((now - start) / inner < best)
            best = (now - start) / inner;
        if (now - start < 1e-4) /* long enough for the clock, short enough to be undisturbed */
            inner *= 2;
    }
    return best;
}

static int by_size(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

double bench_median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, by_size);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

enum status bench_next_streams(const char **list, int *streams, struct error *err) {
    char text[16], *end;
    enum status status = flags_next_item(list, "streams", text, sizeof text, err);
    if (status != STATUS_OK)
        return status;
    long number = strtol(text, &end, 10);
    if (*end || number < 1 || number > 4096)
        return error_set_field(err, STATUS_INVALID, "streams",
                               "--streams is a list of numbers from 1 to 4096");
    *streams = (int)number;
    return STATUS_OK;
}
