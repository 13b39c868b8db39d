/* Compiled with AVX2 (see the Makefile); called only after dispatch.c asked the CPU. */
#if defined(__x86_64__) || defined(__i386__)
#define KERNELS_TABLE kernels_avx2
#define KERNELS_NAME "avx2"
#include "model/kernels/rows.inc"
#else
typedef int kernels_none; /* ISO C wants a declaration */
#endif
