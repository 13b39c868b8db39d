/* busy_loops.h - processes that do nothing but use up cores, as others on a machine may.
 *
 * Ownership: the caller ends them with busy_loops_stop(); they also end when
 * the process that started them is gone. One thread.
 */
#ifndef ALPACA_BENCH_BUSY_LOOPS_H
#define ALPACA_BENCH_BUSY_LOOPS_H

#include "base/status.h"

#include <sys/types.h>

enum { BUSY_LOOPS_MAX = 64 };

struct busy_loops {
    int count;
    pid_t pids[BUSY_LOOPS_MAX];
};

/* One for every core that this process may use. */
enum status busy_loops_start(struct busy_loops *busy_loops, struct error *err);
void busy_loops_stop(struct busy_loops *busy_loops);

#endif
