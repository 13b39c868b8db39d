/* load_generator.h - many HTTP clients in one thread, each asking for one story after another.
 *
 * Made to cost little beside the server that it loads: connections stay open,
 * and an answer is read piece by piece without being understood as JSON. Streams are looked at
 * once a millisecond at most, so their durations are exact to that.
 * Ownership: the caller's result owns its lists; start from {0}, end with
 * load_generator_result_free(). One thread.
 */
#ifndef ALPACA_BENCH_LOAD_GENERATOR_H
#define ALPACA_BENCH_LOAD_GENERATOR_H

#include "base/buffer.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct load_generator {
    const char *host; /* an IPv4 address */
    int port, clients;
    int stories; /* in all; a client takes the next as soon as it has one */
    int tokens;  /* of each story at most */
    double temperature;
    bool stream, keep_alive;
};

/* A growing list of durations in seconds. */
struct times {
    double *values;
    size_t count, capacity;
};

struct load_generator_result {
    double seconds; /* from the first request to the end of the last answer, of all runs */
    int answered, failed;
    uint64_t tokens, pieces; /* a piece is an event with text */
    struct times whole;      /* from a request to the end of its answer */
    struct times first;      /* ... to its first piece; only in streams */
    struct times between;    /* from piece to piece; only in streams */
};

/* Adds what it finds to *result. */
enum status load_generator_run(const struct load_generator *load_generator,
                               struct load_generator_result *result, struct error *err);
void load_generator_result_free(struct load_generator_result *result);
/* The shortest duration that `share` of all are not above; sorts. 0 when there are none. */
double times_percentile(struct times *times, double share);

/* Appends story number n's prompt, about 16 tokens, no two alike. */
void load_generator_write_prompt(struct buffer *text, int number);

#endif
