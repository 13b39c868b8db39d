#include "model/kernels/int8.h"
#include "model/kernels/kernels.h"

#include "base/cpu.h"

#include <stdatomic.h>
#include <string.h>

static _Atomic(const struct kernels *) selected;

static const struct kernels *best(void) {
#if defined(__x86_64__) || defined(__i386__)
    if (cpu_has_avx512())
        return &kernels_avx512;
    if (cpu_has_avx2())
        return &kernels_avx2;
#endif
    return &kernels_portable;
}

const struct kernels *kernels_get(void) {
    const struct kernels *kernels = atomic_load_explicit(&selected, memory_order_relaxed);
    if (!kernels) {
        kernels = best();
        atomic_store_explicit(&selected, kernels, memory_order_relaxed);
    }
    return kernels;
}

/* The best integer set that does not go beyond the row kernels' instruction set. */
const struct int8_kernels *int8_kernels_get(void) {
#if defined(__x86_64__) || defined(__i386__)
    const struct kernels *rows = kernels_get();
    if (rows == &kernels_avx512 && cpu_has_avx512_vnni())
        return &int8_vnni;
    if (rows != &kernels_portable)
        return &int8_avx2;
#elif defined(__wasm_simd128__)
    return &int8_wasm;
#endif
    return &int8_portable;
}

enum status kernels_select(const char *name, struct error *err) {
    const struct kernels *chosen = NULL;
    bool usable = true;
    if (!name)
        chosen = best();
    else if (strcmp(name, "portable") == 0)
        chosen = &kernels_portable;
#if defined(__x86_64__) || defined(__i386__)
    else if (strcmp(name, "avx2") == 0)
        chosen = &kernels_avx2, usable = cpu_has_avx2();
    else if (strcmp(name, "avx512") == 0)
        chosen = &kernels_avx512, usable = cpu_has_avx512();
#endif
    if (!chosen)
        return error_set_field(err, STATUS_INVALID, "cpu",
                               "--cpu must be portable, avx2 or avx512, not \"%s\"", name);
    if (!usable)
        return error_set_field(err, STATUS_UNSUPPORTED, "cpu", "this CPU has no %s", name);
    atomic_store(&selected, chosen);
    return STATUS_OK;
}
