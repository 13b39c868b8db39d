#define _GNU_SOURCE /* sched_getaffinity */
#include "base/cpu.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#endif

static int affinity_count(void) {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set);
#endif
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

static bool read_two(const char *path, char first[32], char second[32]) {
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    second[0] = '\0';
    int count = fscanf(file, "%31s %31s", first, second);
    fclose(file);
    return count >= 1;
}

/* Cores that a quota of `quota` microseconds per `period` allows; 0 for no limit. */
static int quota_cores(const char *quota, const char *period) {
    long long quota_us = 0, period_us = 0;
    if (sscanf(quota, "%lld", &quota_us) != 1 || sscanf(period, "%lld", &period_us) != 1)
        return 0;
    if (quota_us <= 0 || period_us <= 0)
        return 0;
    return (int)((quota_us + period_us - 1) / period_us);
}

/* A container sees its own cgroup at the root of the mount, which is the case that matters. */
static int quota_count(void) {
    char quota[32], period[32], unused[32];
    if (read_two("/sys/fs/cgroup/cpu.max", quota, period))
        return quota_cores(quota, period); /* "max 100000" parses as no limit */
    if (read_two("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota, unused) &&
        read_two("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period, unused))
        return quota_cores(quota, period);
    return 0;
}

int cpu_count(void) {
    int count = affinity_count(), quota = quota_count();
    if (quota > 0 && quota < count)
        count = quota;
    return count > 0 ? count : 1;
}

#if defined(__x86_64__) || defined(__i386__)
bool cpu_has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
bool cpu_has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool cpu_has_avx512_vnni(void) {
    return cpu_has_avx512() && __builtin_cpu_supports("avx512vnni");
}
bool cpu_has_avx512_bf16(void) {
    return cpu_has_avx512() && __builtin_cpu_supports("avx512bf16");
}
#else
bool cpu_has_avx2(void) {
    return false;
}
bool cpu_has_avx512(void) {
    return false;
}
bool cpu_has_avx512_vnni(void) {
    return false;
}
bool cpu_has_avx512_bf16(void) {
    return false;
}
#endif
