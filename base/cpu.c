#define _GNU_SOURCE /* sched_getaffinity */
#include "base/cpu.h"

#include "base/file.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
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

/* The first numbers of a file, at most two; 0 where it has others, such as "max". */
static void read_numbers(const char *folder, const char *name, long long numbers[2]) {
    char path[FILE_PATH_BYTES];
    FILE *file = file_join(path, folder, name, NULL) == STATUS_OK ? fopen(path, "r") : NULL;
    numbers[0] = numbers[1] = 0;
    if (!file)
        return;
    if (fscanf(file, "%lld %lld", &numbers[0], &numbers[1]) < 1)
        numbers[0] = 0;
    fclose(file);
}

/* Cores that a cgroup allows: microseconds in each period, rounded up; 0 for no limit. */
static int folder_quota(const char *folder) {
    long long numbers[2], period[2];
    read_numbers(folder, "cpu.max", numbers); /* version 2: "200000 100000" or "max 100000" */
    if (numbers[0] == 0) {
        read_numbers(folder, "cpu.cfs_quota_us", numbers); /* version 1; -1 for no limit */
        read_numbers(folder, "cpu.cfs_period_us", period);
        numbers[1] = period[0];
    }
    if (numbers[0] <= 0 || numbers[1] <= 0)
        return 0;
    return (int)((numbers[0] + numbers[1] - 1) / numbers[1]);
}

static int smaller_quota(int a, int b) {
    return a == 0 || (b > 0 && b < a) ? b : a;
}

/* A quota holds for all cgroups below its own. What is not mounted has none: a container finds its
 * own cgroup at the mount's root, whatever the path says. */
static int path_quota(const char *mount, const char *cgroup) {
    char folder[FILE_PATH_BYTES];
    if (file_join(folder, mount, cgroup + strspn(cgroup, "/"), NULL) != STATUS_OK)
        return folder_quota(mount);
    int least = 0;
    for (size_t end = strlen(folder); end >= strlen(mount); end--) {
        if (folder[end] != '/' && folder[end] != '\0')
            continue;
        folder[end] = '\0';
        least = smaller_quota(least, folder_quota(folder));
    }
    return least;
}

static bool names_cpu(char *controllers) {
    char *rest, *name = strtok_r(controllers, ",", &rest);
    while (name && strcmp(name, "cpu") != 0)
        name = strtok_r(NULL, ",", &rest);
    return name;
}

int cpu_quota(const char *root) {
    char list[FILE_PATH_BYTES], mounts[2][FILE_PATH_BYTES], line[FILE_PATH_BYTES];
    if (file_join(list, root, "proc/self/cgroup", NULL) != STATUS_OK ||
        file_join(mounts[0], root, "sys/fs/cgroup", NULL) != STATUS_OK ||
        file_join(mounts[1], root, "sys/fs/cgroup/cpu", NULL) != STATUS_OK)
        return 0;
    int least = smaller_quota(folder_quota(mounts[0]), folder_quota(mounts[1]));
    FILE *file = fopen(list, "r");
    while (file && fgets(line, sizeof line, file)) { /* "0::/a.slice/b", "4:cpu,cpuacct:/a" */
        char *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
        if (!path)
            continue;
        path[strcspn(path, "\n")] = '\0';
        *path++ = '\0';
        bool version_2 = names[1] == '\0';
        if (version_2 || names_cpu(names + 1))
            least = smaller_quota(least, path_quota(mounts[!version_2], path));
    }
    if (file)
        fclose(file);
    return least;
}

int cpu_count(void) {
    int count = affinity_count(), quota = cpu_quota("");
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

#if defined(__x86_64__) && defined(__linux__)
/* Linux's Documentation/arch/x86/xstate.rst: tiles are state that a process must ask for. It holds
 * for all threads. */
static bool tiles_are_permitted(void) {
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

bool cpu_has_amx_int8(void) {
    unsigned a, b, c, d;
    return cpu_has_avx512_vnni() && __get_cpuid_count(7, 0, &a, &b, &c, &d) &&
           (d & 1u << 24) && /* AMX-TILE */
           (d & 1u << 25) && /* AMX-INT8 */
           tiles_are_permitted();
}
#else
bool cpu_has_amx_int8(void) {
    return false;
}
#endif
