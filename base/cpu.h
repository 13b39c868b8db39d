/* cpu.h - what this process may use of the machine. Thread-safe. */
#ifndef ALPACA_BASE_CPU_H
#define ALPACA_BASE_CPU_H

#include <stdbool.h>

/* Cores this process may keep busy: the less of its CPU affinity and cpu_quota(""), at least 1. */
int cpu_count(void);
/* Cores that the CPU quotas of its cgroup and of those above it allow (version 2 or 1), rounded up;
 * 0 for no limit. `root` stands before the paths of /proc and /sys; for tests. */
int cpu_quota(const char *root);

/* Instruction sets usable here (CPU and operating system both). */
bool cpu_has_avx2(void);   /* AVX2 + FMA */
bool cpu_has_avx512(void); /* AVX-512 F, BW, DQ, VL */
bool cpu_has_avx512_vnni(void); /* those and VNNI: sums of products of bytes */
bool cpu_has_avx512_bf16(void); /* those and BF16: sums of products of bfloat16 */
/* AVX-512 with VNNI, and AMX: tiles of bytes. Asks the operating system to let this process use
 * tiles; false where it does not. */
bool cpu_has_amx_int8(void);

#endif
