#include "model/kernels/bf16.h"

#include "base/cpu.h"
#include "model/kernels/bf16_avx512.h"

const struct bf16_kernels *bf16_kernels_get(void) {
#if defined(__x86_64__)
    if (cpu_has_avx512_bf16())
        return &bf16_kernels_avx512;
#endif
    return NULL;
}
