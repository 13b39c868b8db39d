#include "bench/bench.h"

#include <stdio.h>

int bench_command(const char *name, const struct flag_table *table, void *options, int argc,
                  char **argv, enum status (*run)(const void *options, struct error *err)) {
    struct error err;
    int help = 0;
    enum status status = flags_parse(table, options, argc, argv, NULL, 0, NULL, &help, &err);
    if (help)
        return 0;
    if (status == STATUS_OK)
        status = run(options, &err);
    if (status != STATUS_OK)
        fprintf(stderr, "alpaca-bench %s: %s\n", name, err.message);
    return status == STATUS_OK ? 0 : 1;
}
