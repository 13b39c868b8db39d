/* peaks.h - what this machine can do at most, measured, to hold our rates against.
 *
 * Each runs on every worker of the pool at the same time for a few tenths of a
 * second and returns the sum of their rates. One thread at a time, the pool's user.
 */
#ifndef ALPACA_BENCH_PEAKS_H
#define ALPACA_BENCH_PEAKS_H

#include <stddef.h>

struct pool;

/* Multiplications and additions of bytes per second, in 1e9, by the instructions with which the
 * INT8 kernels in use (int8_kernels_get()) multiply; 0 for those in plain C. */
double peak_int8_gops(struct pool *pool);
/* fp32 operations per second, in 1e9, by fused multiply-adds; 0 where we do not know how. */
double peak_f32_gflops(struct pool *pool);
/* The same of bfloat16 products with fp32 sums; 0 where the CPU has none. */
double peak_bf16_gflops(struct pool *pool);
/* GB/s of reading `bytes` of memory again and again, each worker its own part. */
double peak_read_gbps(struct pool *pool, size_t bytes);

#endif
