/* The reference: plain C, any CPU. */
#define KERNELS_TABLE kernels_portable
#define KERNELS_NAME "portable"
#include "model/kernels/rows.inc"
