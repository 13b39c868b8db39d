#include "model/blas.h"

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

/* Starts this program again, as the same process, with the kernels that OpenBLAS shall use. */
static void restart_with(const char *core, char **argv) {
    const char *now = getenv("OPENBLAS_CORETYPE");
    if (now && strcasecmp(now, core) == 0)
        return; /* it has been started again already, and would be for ever */
    char program[4096]; /* its real name, so that ps shows that and not "exe" */
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0)
        return; /* no /proc: slow, but right */
    program[length] = '\0';
    setenv("OPENBLAS_CORETYPE", core, 1);
    execv(program, argv);
}

void blas_init(char **argv) {
#ifdef __linux__
    const char *wanted = getenv("ALPACA_BLAS_CORE");
    if (wanted && *wanted)
        restart_with(wanted, argv);
    else if (cpu_has_avx512() && !knows_avx512(blas_core_name()))
        restart_with("SkylakeX", argv);
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
