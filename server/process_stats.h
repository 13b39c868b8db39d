/* process_stats.h - what the system knows about this process: time, memory, files, threads.
 *
 * Ownership: the caller's struct is filled in. Thread-safe.
 */
#ifndef ALPACA_SERVER_PROCESS_STATS_H
#define ALPACA_SERVER_PROCESS_STATS_H

#include <stdbool.h>
#include <stdint.h>

struct process_stats {
    double cpu_seconds;
    uint64_t max_files; /* open files that the system allows */
    bool has_proc;      /* there is a /proc, which says the following */
    uint64_t resident_bytes, virtual_bytes;
    int open_files, threads;
};

void process_stats_read(struct process_stats *stats);

#endif
