#include "model/kernels/int8.h"
#include "model/kernels/kernels.h"

#include "base/cpu.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

static bool always(void) {
    return true;
}

#if defined(__wasm_simd128__)
#define PORTABLE_INTEGERS &int8_wasm
#else
#define PORTABLE_INTEGERS &int8_portable
#endif

/* What --cpu names; the best first. Of several with one name, the first that is usable counts. */
static const struct level {
    const char *name;
    bool (*usable)(void);
    const struct kernels *rows;
    const struct int8_kernels *integers;
} levels[] = {
#if defined(__x86_64__)
    {"amx", cpu_has_amx_int8, &kernels_avx512, &int8_amx},
#endif
#if defined(__x86_64__) || defined(__i386__)
    {"avx512", cpu_has_avx512_vnni, &kernels_avx512, &int8_vnni},
    {"avx512", cpu_has_avx512, &kernels_avx512, &int8_avx2},
    {"avx2", cpu_has_avx2, &kernels_avx2, &int8_avx2},
#endif
    {"portable", always, &kernels_portable, PORTABLE_INTEGERS},
};

static _Atomic(const struct level *) selected;

static const struct level *level(void) {
    const struct level *l = atomic_load_explicit(&selected, memory_order_relaxed);
    if (!l) {
        for (l = levels; !l->usable();)
            l++;
        atomic_store_explicit(&selected, l, memory_order_relaxed);
    }
    return l;
}

const struct kernels *kernels_get(void) {
    return level()->rows;
}

const struct int8_kernels *int8_kernels_get(void) {
    return level()->integers;
}

enum status kernels_select(const char *name, struct error *err) {
    bool known = !name;
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (name && strcmp(name, levels[i].name) != 0)
            continue;
        known = true;
        if (!levels[i].usable())
            continue;
        atomic_store(&selected, &levels[i]);
        return STATUS_OK;
    }
    if (!known)
        return error_set_field(err, STATUS_INVALID, "cpu",
                               "--cpu must be portable, avx2, avx512 or amx, not \"%s\"", name);
    return error_set_field(err, STATUS_UNSUPPORTED, "cpu", "%s cannot be used here", name);
}
