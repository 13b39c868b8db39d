/* blas.h - single-threaded fp32 matrix products by OpenBLAS.
 *
 * The only door to OpenBLAS. Each call runs on the calling thread; spreading
 * work over cores is the pool's business (OpenBLAS's own threads spin and
 * collapse when another process wants the core). Whatever links this starts no threads of OpenBLAS.
 * Ownership: all memory is the caller's. Thread-safe after blas_init().
 */
#ifndef ALPACA_MODEL_BLAS_H
#define ALPACA_MODEL_BLAS_H

#include <stdbool.h>
#include <stddef.h>

/* Call in main() after program_start(). OpenBLAS picks its kernels before main() starts, and an
 * old version, or an OPENBLAS_CORETYPE set for the whole machine, can leave half
 * of a new CPU unused. Then this restarts the program (same process, same
 * arguments) with OPENBLAS_CORETYPE naming kernels that use all of it.
 * ALPACA_BLAS_CORE=NAME in the environment has the last word. */
void blas_init(char **argv);

/* The name of the kernels in use, such as "SkylakeX". */
const char *blas_core_name(void);

/* C[m, n] = alpha * op(A) op(B) + beta * C, all row-major; op(A) is [m, k] and
 * op(B) is [k, n]; `lda`, `ldb`, `ldc` are row strides in floats as stored. */
void blas_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, float alpha,
               const float *a, size_t lda, const float *b, size_t ldb, float beta, float *c,
               size_t ldc);

#endif
