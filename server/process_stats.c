#include "server/process_stats.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* The number of entries in a folder of /proc, "." and ".." not counted. */
static int count_entries(const char *path) {
    DIR *folder = opendir(path);
    int count = 0;
    if (!folder)
        return 0;
    while (readdir(folder))
        count++;
    closedir(folder);
    return count - 2;
}

static void read_memory(struct process_stats *stats) {
    FILE *file = fopen("/proc/self/statm", "r");
    uint64_t virtual_pages = 0, resident_pages = 0;
    if (!file)
        return;
    if (fscanf(file, "%" SCNu64 " %" SCNu64, &virtual_pages, &resident_pages) == 2) {
        uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
        stats->virtual_bytes = virtual_pages * page_bytes;
        stats->resident_bytes = resident_pages * page_bytes;
        stats->has_proc = true;
    }
    fclose(file);
}

static double seconds_of(struct timeval time) {
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

void process_stats_read(struct process_stats *stats) {
    struct rusage usage;
    struct rlimit limit;
    memset(stats, 0, sizeof *stats);
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        stats->cpu_seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        stats->max_files = (uint64_t)limit.rlim_cur;
    stats->open_files = count_entries("/proc/self/fd");
    stats->threads = count_entries("/proc/self/task");
    read_memory(stats);
}
