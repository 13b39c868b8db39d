/* The product of matrices without OpenBLAS, which is not there for browsers: an INT8 model is run
 * without one, so this need not be fast. */
#include "model/blas.h"

void blas_init(char **argv) {
    (void)argv;
}

const char *blas_core_name(void) {
    return "none";
}

void blas_gemm(bool transpose_a, bool transpose_b, size_t m, size_t n, size_t k, float alpha,
               const float *a, size_t lda, const float *b, size_t ldb, float beta, float *c,
               size_t ldc) {
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            float sum = 0, *to = &c[i * ldc + j];
            for (size_t l = 0; l < k; l++)
                sum += (transpose_a ? a[l * lda + i] : a[i * lda + l]) *
                       (transpose_b ? b[j * ldb + l] : b[l * ldb + j]);
            *to = alpha * sum + (beta == 0 ? 0 : beta * *to);
        }
}
