/* server_process.h - an alpaca-server of the same build, as a child process.
 *
 * Ownership: a server that was started belongs to the caller, who stops it with
 * server_stop(), also after an error. One thread.
 */
#ifndef ALPACA_BENCH_SERVER_PROCESS_H
#define ALPACA_BENCH_SERVER_PROCESS_H

#include "base/status.h"

#include <sys/types.h>

struct server_process {
    pid_t pid;   /* 0: none */
    int output;  /* what it prints */
    int port;    /* on 127.0.0.1 */
    double ready_s; /* from its start until /ready said so */
};

/* What it took all its life, as the system counts it. */
struct server_usage {
    double peak_mb; /* resident */
    double cpu_s;
};

/* Starts it with a model folder and so many slots, on a free port, and waits until it is ready. */
enum status server_start(struct server_process *server, const char *model, int slots,
                         struct error *err);
/* Waits for its end. A server that was never started is allowed. */
struct server_usage server_stop(struct server_process *server);

#endif
