#define _GNU_SOURCE /* environ */
#include "model/blas.h"

#include "base/cpu.h"
#include "base/file.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>
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

#ifdef __linux__
/* OpenBLAS starts a thread for every core while it is loaded, before main() could set a variable
 * against it, and ends the program where threads are limited. It asks for the number with getenv(),
 * and the dynamic linker prefers this program's getenv() to the C library's. */
char *getenv(const char *name) {
    static char one[] = "1";
    size_t length = strlen(name);
    if (strcmp(name, "OPENBLAS_NUM_THREADS") == 0)
        return one;
    for (char **at = environ; at && *at; at++)
        if (strncmp(*at, name, length) == 0 && (*at)[length] == '=')
            return *at + length + 1;
    return NULL;
}

/* Starts this program again, as the same process, with the kernels that OpenBLAS shall use. Where
 * that is impossible it goes on with slower ones. */
static void restart_with(const char *core, char **argv) {
    const char *now = getenv("OPENBLAS_CORETYPE");
    char program[FILE_PATH_BYTES]; /* its real name, so that ps shows that and not "exe" */
    bool by_loader;
    if (now && strcasecmp(now, core) == 0)
        return; /* it has been started again already, and would be for ever */
    if (!file_program(program, &by_loader) || by_loader)
        return; /* a loader of its own choice may be the only one that can start it */
    setenv("OPENBLAS_CORETYPE", core, 1);
    execv(program, argv);
}
#endif

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
