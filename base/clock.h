/* clock.h - monotonic time, for durations and deadlines. Thread-safe. */
#ifndef ALPACA_BASE_CLOCK_H
#define ALPACA_BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_now_ns(void);  /* nanoseconds since an arbitrary start; never goes back */
double clock_seconds(void);   /* the same in seconds */

#endif
