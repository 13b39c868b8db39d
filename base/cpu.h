/* cpu.h - what this process may use of the machine. Thread-safe. */
#ifndef ALPACA_BASE_CPU_H
#define ALPACA_BASE_CPU_H

#include <stdbool.h>

/* Cores this process may keep busy: the smaller of its CPU affinity and its
 * cgroup's CPU quota (v2 or v1), rounded up; at least 1. */
int cpu_count(void);

/* Instruction sets usable here (CPU and operating system both). */
bool cpu_has_avx2(void);   /* AVX2 + FMA */
bool cpu_has_avx512(void); /* AVX-512 F, BW, DQ, VL */
bool cpu_has_avx512_vnni(void); /* those and VNNI: sums of products of bytes */
bool cpu_has_avx512_bf16(void); /* those and BF16: sums of products of bfloat16 */

#endif
