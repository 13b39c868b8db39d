/* process_stats.h - what the system says about this process. Thread-safe. */
#ifndef ALPACA_SERVER_PROCESS_STATS_H
#define ALPACA_SERVER_PROCESS_STATS_H

#include <stdint.h>

struct process_stats {
    double cpu_seconds;
    uint64_t resident_bytes, virtual_bytes;
    int open_files, threads;
    uint64_t max_files;
};

/* What the system does not tell stays 0. */
void process_stats_read(struct process_stats *stats);

#endif
