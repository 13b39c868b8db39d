#include "engine/blas.h"

#include "base/cpu.h"

#include <cblas.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

const char *blas_core_name(void) {
    return openblas_get_corename();
}

static bool knows_avx512(const char *core) {
    static const char *const names[] = {"SkylakeX", "Cooperlake", "SapphireRapids", "Zen5"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcasecmp(core, names[i]) == 0)
            return true;
    return false;
}

void blas_init(char **argv) {
#ifdef __linux__
    if (cpu_has_avx512() && !getenv("OPENBLAS_CORETYPE") && !knows_avx512(blas_core_name())) {
        setenv("OPENBLAS_CORETYPE", "SkylakeX", 1); /* set, so the restart happens once */
        execv("/proc/self/exe", argv); /* returns only where /proc is missing: slow, but right */
    }
#else
    (void)argv;
#endif
    openblas_set_num_threads(1);
}

void blas_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, float alpha,
               const float *a, size_t lda, const float *b, size_t ldb, float beta, float *c,
               size_t ldc) {
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
                transpose_b ? CblasTrans : CblasNoTrans, (blasint)m, (blasint)n, (blasint)k, alpha,
                a, (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
}
