/* busy_loops.h - processes that do nothing but use up cores, as others on a machine may.
 *
 * One thread. They end with busy_loops_stop(), or when the process that started
 * them is gone.
 */
#ifndef ALPACA_BENCH_BUSY_LOOPS_H
#define ALPACA_BENCH_BUSY_LOOPS_H

#include "base/status.h"

#include <sys/types.h>

enum { SPINNERS_MAX = 64 };

struct busy_loops {
    int count;
    pid_t pids[SPINNERS_MAX];
};

/* One for every core that this process may use. */
enum status busy_loops_start(struct busy_loops *busy_loops, struct error *err);
void busy_loops_stop(struct busy_loops *busy_loops);

#endif
