/* Compiled with AVX-512 F/BW/DQ/VL (see the Makefile); called after dispatch.c asked the CPU. */
#if defined(__x86_64__) || defined(__i386__)
#define KERNELS_TABLE kernels_avx512
#define KERNELS_NAME "avx512"
#include "model/kernels/rows.inc"
#else
typedef int kernels_none; /* ISO C wants a declaration */
#endif
