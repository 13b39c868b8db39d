/* shared_inline.h - for functions of a header that run on the CPU and on a graphics card alike.
 *
 * SHARED_INLINE is `static inline`, and where CUDA's compiler reads it also means "on both sides".
 * Such functions are plain arithmetic on their arguments. Thread-safe: nothing is kept or owned.
 */
#ifndef ALPACA_BASE_SHARED_INLINE_H
#define ALPACA_BASE_SHARED_INLINE_H

#ifdef __CUDACC__
#define SHARED_INLINE static inline __host__ __device__
#else
#define SHARED_INLINE static inline
#endif

#endif
