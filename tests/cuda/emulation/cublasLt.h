/* cublasLt.h - the calls of cuBLASLt that train/cuda/products.cu makes, on a CPU, with plain loops.
 *
 * See cuda_runtime.h beside it. It says no to what the library documents as wrong: an operand that
 * is not aligned as the preference says, or an epilogue without its bias.
 * Ownership: everything is the caller's. One thread.
 */
#ifndef ALPACA_TESTS_CUDA_EMULATION_CUBLASLT_H
#define ALPACA_TESTS_CUDA_EMULATION_CUBLASLT_H

#include "cuda_bf16.h"
#include "cuda_runtime.h"

typedef enum {
    CUBLAS_STATUS_SUCCESS,
    CUBLAS_STATUS_INVALID_VALUE,
    CUBLAS_STATUS_NOT_SUPPORTED
} cublasStatus_t;
typedef enum { CUBLAS_OP_N, CUBLAS_OP_T } cublasOperation_t;
typedef enum { CUDA_R_32F, CUDA_R_16BF } cudaDataType;
typedef enum { CUBLAS_COMPUTE_32F } cublasComputeType_t;
typedef enum {
    CUBLASLT_EPILOGUE_DEFAULT = 1,
    CUBLASLT_EPILOGUE_BIAS = 4,
    CUBLASLT_EPILOGUE_RELU_BIAS = 6
} cublasLtEpilogue_t;
enum { CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE = 2 };
typedef enum {
    CUBLASLT_MATMUL_DESC_TRANSA,
    CUBLASLT_MATMUL_DESC_TRANSB,
    CUBLASLT_MATMUL_DESC_EPILOGUE,
    CUBLASLT_MATMUL_DESC_BIAS_POINTER,
    CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE
} cublasLtMatmulDescAttributes_t;
typedef enum {
    CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
    CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET
} cublasLtMatrixLayoutAttribute_t;
typedef enum {
    CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
    CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES
} cublasLtMatmulPreferenceAttributes_t;

typedef struct {
    cublasOperation_t a, b;
    cublasLtEpilogue_t epilogue;
    const void *bias;
    cudaDataType bias_type;
} cublasLtMatmulDescOpaque_t;
typedef struct {
    cudaDataType type;
    size_t rows, columns, ld;
    int32_t batch;
    int64_t stride;
} cublasLtMatrixLayoutOpaque_t;
typedef struct {
    int unused;
} cublasLtMatmulPreferenceOpaque_t;
typedef struct {
    uint64_t m, n, k;
} cublasLtMatmulAlgo_t;
typedef struct {
    cublasLtMatmulAlgo_t algo;
} cublasLtMatmulHeuristicResult_t;
typedef int *cublasLtHandle_t;

static inline cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    *handle = (int *)calloc(1, sizeof **handle);
    return CUBLAS_STATUS_SUCCESS;
}
static inline cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

static inline cublasStatus_t cublasLtMatmulDescInit(cublasLtMatmulDescOpaque_t *d,
                                                    cublasComputeType_t, cudaDataType) {
    *d = {CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr, CUDA_R_32F};
    return CUBLAS_STATUS_SUCCESS;
}

static inline cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDescOpaque_t *d,
                                                            cublasLtMatmulDescAttributes_t what,
                                                            const void *value, size_t size) {
    const struct {
        void *at;
        size_t size;
    } places[] = {{&d->a, sizeof d->a}, {&d->b, sizeof d->b}, {&d->epilogue, sizeof d->epilogue},
                  {&d->bias, sizeof d->bias}, {&d->bias_type, sizeof d->bias_type}};
    if (size != places[what].size)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(places[what].at, value, size);
    return CUBLAS_STATUS_SUCCESS;
}

static inline cublasStatus_t cublasLtMatrixLayoutInit(cublasLtMatrixLayoutOpaque_t *l,
                                                      cudaDataType type, uint64_t rows,
                                                      uint64_t columns, int64_t ld) {
    *l = {type, rows, columns, (size_t)ld, 1, 0};
    return ld >= (int64_t)rows ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

static inline cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayoutOpaque_t *l,
                                                              cublasLtMatrixLayoutAttribute_t what,
                                                              const void *value, size_t size) {
    if (what == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT && size == sizeof l->batch)
        memcpy(&l->batch, value, size);
    else if (what == CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET && size == sizeof l->stride)
        memcpy(&l->stride, value, size);
    else
        return CUBLAS_STATUS_INVALID_VALUE;
    return CUBLAS_STATUS_SUCCESS;
}

static inline cublasStatus_t cublasLtMatmulPreferenceInit(cublasLtMatmulPreferenceOpaque_t *) {
    return CUBLAS_STATUS_SUCCESS;
}
static inline cublasStatus_t cublasLtMatmulPreferenceSetAttribute(
    cublasLtMatmulPreferenceOpaque_t *, cublasLtMatmulPreferenceAttributes_t what, const void *,
    size_t size) {
    size_t wanted = what == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? 8 : 4;
    return size == wanted ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

/* How op(a), op(b) and d fit together. */
static inline bool emulated_fit(const cublasLtMatmulDescOpaque_t *o,
                                const cublasLtMatrixLayoutOpaque_t *a,
                                const cublasLtMatrixLayoutOpaque_t *b,
                                const cublasLtMatrixLayoutOpaque_t *d,
                                cublasLtMatmulAlgo_t *shape) {
    size_t m = o->a == CUBLAS_OP_T ? a->columns : a->rows;
    size_t k = o->a == CUBLAS_OP_T ? a->rows : a->columns;
    size_t other = o->b == CUBLAS_OP_T ? b->columns : b->rows;
    size_t n = o->b == CUBLAS_OP_T ? b->rows : b->columns;
    *shape = {m, n, k};
    return k == other && d->rows == m && d->columns == n && a->type == b->type &&
           a->batch == b->batch && a->batch == d->batch;
}

static inline cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t, const cublasLtMatmulDescOpaque_t *o, const cublasLtMatrixLayoutOpaque_t *a,
    const cublasLtMatrixLayoutOpaque_t *b, const cublasLtMatrixLayoutOpaque_t *,
    const cublasLtMatrixLayoutOpaque_t *d, const cublasLtMatmulPreferenceOpaque_t *, int,
    cublasLtMatmulHeuristicResult_t *result, int *found) {
    *found = emulated_fit(o, a, b, d, &result->algo);
    return *found ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
}

static inline float emulated_number(const void *values, cudaDataType type, size_t i) {
    return type == CUDA_R_32F ? ((const float *)values)[i]
                              : __bfloat162float(((const __nv_bfloat16 *)values)[i]);
}

static inline cublasStatus_t cublasLtMatmul(
    cublasLtHandle_t, const cublasLtMatmulDescOpaque_t *o, const float *alpha, const void *a,
    const cublasLtMatrixLayoutOpaque_t *la, const void *b, const cublasLtMatrixLayoutOpaque_t *lb,
    const float *beta, const void *c, const cublasLtMatrixLayoutOpaque_t *lc, void *d,
    const cublasLtMatrixLayoutOpaque_t *ld, const cublasLtMatmulAlgo_t *algorithm, void *, size_t,
    cudaStream_t) {
    cublasLtMatmulAlgo_t s;
    bool biased = o->epilogue != CUBLASLT_EPILOGUE_DEFAULT;
    if (!emulated_fit(o, la, lb, ld, &s) || memcmp(&s, algorithm, sizeof s) != 0 ||
        ((uintptr_t)a | (uintptr_t)b | (uintptr_t)c | (uintptr_t)d) % 16 || biased != !!o->bias)
        return CUBLAS_STATUS_INVALID_VALUE;
    for (int64_t batch = 0; batch < la->batch; batch++)
        for (size_t j = 0; j < s.n; j++)
            for (size_t i = 0; i < s.m; i++) {
                float sum = 0;
                for (size_t k = 0; k < s.k; k++) {
                    size_t at = o->a == CUBLAS_OP_T ? i * la->ld + k : k * la->ld + i;
                    size_t bt = o->b == CUBLAS_OP_T ? k * lb->ld + j : j * lb->ld + k;
                    sum += emulated_number(a, la->type, (size_t)(batch * la->stride) + at) *
                           emulated_number(b, lb->type, (size_t)(batch * lb->stride) + bt);
                }
                size_t dt = (size_t)(batch * ld->stride) + j * ld->ld + i;
                float y = *alpha * sum;
                if (*beta != 0)
                    y += *beta * emulated_number(c, lc->type, dt);
                if (biased)
                    y += emulated_number(o->bias, o->bias_type, i);
                if (o->epilogue == CUBLASLT_EPILOGUE_RELU_BIAS)
                    y = y > 0 ? y : 0;
                if (ld->type == CUDA_R_32F)
                    ((float *)d)[dt] = y;
                else
                    ((__nv_bfloat16 *)d)[dt] = __float2bfloat16(y);
            }
    return CUBLAS_STATUS_SUCCESS;
}

#endif
