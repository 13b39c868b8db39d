#include "train/cuda/products.h"

#include <cublasLt.h>
#include <stdlib.h>
#include <string.h>

/* What cuBLASLt's choice depends on. It is compared as bytes, so it has no gaps. */
struct shape {
    int32_t m, n, k, lda, ldb, ldd;
    int32_t in, out, batch, flags;
};
enum { TRANSPOSE_A = 1, TRANSPOSE_B = 2, BIAS = 4, RELU = 8, ADD = 16 };

struct choice {
    struct shape shape;
    cublasLtMatmulAlgo_t algorithm;
};

/* Batches of whole stories have many numbers of rows, so the choices that are kept make room for
 * others; the same shape gets the same choice again. */
enum { CHOICES = 4096, WORKSPACE_BYTES = 32 << 20 };

struct products {
    cublasLtHandle_t handle;
    void *workspace;
    struct choice *choices; /* [CHOICES], by a hash of the shape */
};

/* How cublasLtMatmul() gets to know a product. */
struct call {
    cublasLtMatmulDescOpaque_t operation;
    cublasLtMatrixLayoutOpaque_t a, b, d;
};

static enum status blas_status(cublasStatus_t status, const char *what, struct error *err) {
    if (status == CUBLAS_STATUS_SUCCESS)
        return STATUS_OK;
    return error_set(err, STATUS_IO, "cuBLASLt: %s: status %d", what, (int)status);
}

enum status products_open(struct products **out, struct error *err) {
    struct products *p = (struct products *)calloc(1, sizeof *p);
    *out = p;
    if (p)
        p->choices = (struct choice *)calloc(CHOICES, sizeof *p->choices);
    if (!p || !p->choices)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the products");
    enum status status = card_status(cudaMalloc(&p->workspace, WORKSPACE_BYTES), "workspace", err);
    return status == STATUS_OK ? blas_status(cublasLtCreate(&p->handle), "start", err) : status;
}

void products_close(struct products *p) {
    if (!p)
        return;
    if (p->handle)
        cublasLtDestroy(p->handle);
    cudaFree(p->workspace);
    free(p->choices);
    free(p);
}

/* ---- one product ---------------------------------------------------------- */

static cudaDataType type_of(enum dtype dtype) {
    return dtype == DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

template <typename T>
static bool set(struct call *call, cublasLtMatmulDescAttributes_t attribute, T value) {
    return cublasLtMatmulDescSetAttribute(&call->operation, attribute, &value, sizeof value) ==
           CUBLAS_STATUS_SUCCESS;
}

static bool lay_out(cublasLtMatrixLayoutOpaque_t *layout, cudaDataType type, int rows, int columns,
                    int ld) {
    return cublasLtMatrixLayoutInit(layout, type, (uint64_t)rows, (uint64_t)columns, ld) ==
           CUBLAS_STATUS_SUCCESS;
}

static bool repeat(cublasLtMatrixLayoutOpaque_t *layout, int32_t batch, int64_t stride) {
    return cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch,
                                            sizeof batch) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                            &stride, sizeof stride) == CUBLAS_STATUS_SUCCESS;
}

static bool describe(struct call *call, const struct product *p) {
    cudaDataType in = type_of(p->in), out = type_of(p->out);
    cublasLtEpilogue_t epilogue = p->bias && p->relu ? CUBLASLT_EPILOGUE_RELU_BIAS
                                  : p->bias          ? CUBLASLT_EPILOGUE_BIAS
                                                     : CUBLASLT_EPILOGUE_DEFAULT;
    int rows_a = p->transpose_a ? p->k : p->m, columns_a = p->transpose_a ? p->m : p->k;
    int rows_b = p->transpose_b ? p->n : p->k, columns_b = p->transpose_b ? p->k : p->n;
    bool good =
        cublasLtMatmulDescInit(&call->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F) ==
            CUBLAS_STATUS_SUCCESS &&
        set(call, CUBLASLT_MATMUL_DESC_TRANSA, p->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N) &&
        set(call, CUBLASLT_MATMUL_DESC_TRANSB, p->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N) &&
        set(call, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    if (p->bias)
        good = good && set(call, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p->bias) &&
               set(call, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, out);
    good = good && lay_out(&call->a, in, rows_a, columns_a, p->lda) &&
           lay_out(&call->b, in, rows_b, columns_b, p->ldb) &&
           lay_out(&call->d, out, p->m, p->n, p->ldd);
    if (p->batch)
        good = good && repeat(&call->a, p->batch, (int64_t)p->stride_a) &&
               repeat(&call->b, p->batch, (int64_t)p->stride_b) &&
               repeat(&call->d, p->batch, (int64_t)p->stride_d);
    return good;
}

/* ---- the choice of an algorithm ------------------------------------------- */

static cublasStatus_t ask(const struct products *p, struct call *call,
                          cublasLtMatmulAlgo_t *algorithm) {
    cublasLtMatmulPreferenceOpaque_t preference;
    cublasLtMatmulHeuristicResult_t result;
    uint64_t bytes = WORKSPACE_BYTES;
    uint32_t alignment = 16, schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    int found = 0;
    cublasStatus_t status = cublasLtMatmulPreferenceInit(&preference);
    const struct {
        cublasLtMatmulPreferenceAttributes_t attribute;
        const void *value;
        size_t size;
    } wishes[] = {
        {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes},
        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &alignment, sizeof alignment},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &alignment, sizeof alignment},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &alignment, sizeof alignment},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &alignment, sizeof alignment},
    };
    for (size_t i = 0; i < sizeof wishes / sizeof *wishes && status == CUBLAS_STATUS_SUCCESS; i++)
        status = cublasLtMatmulPreferenceSetAttribute(&preference, wishes[i].attribute,
                                                      wishes[i].value, wishes[i].size);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmulAlgoGetHeuristic(p->handle, &call->operation, &call->a, &call->b,
                                                &call->d, &call->d, &preference, 1, &result,
                                                &found);
    if (status == CUBLAS_STATUS_SUCCESS && found == 0)
        status = CUBLAS_STATUS_NOT_SUPPORTED;
    if (status == CUBLAS_STATUS_SUCCESS)
        *algorithm = result.algo;
    return status;
}

static struct shape shape_of(const struct product *p) {
    struct shape shape = {p->m, p->n, p->k, p->lda, p->ldb, p->ldd, p->in, p->out, p->batch, 0};
    shape.flags = (p->transpose_a ? TRANSPOSE_A : 0) | (p->transpose_b ? TRANSPOSE_B : 0) |
                  (p->bias ? BIAS : 0) | (p->relu ? RELU : 0) | (p->beta != 0 ? ADD : 0);
    return shape;
}

static struct choice *place_of(const struct products *p, const struct shape *shape) {
    const unsigned char *bytes = (const unsigned char *)shape;
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < sizeof *shape; i++)
        hash = (hash ^ bytes[i]) * 16777619u;
    return &p->choices[hash % CHOICES];
}

enum status products_run(struct products *p, const struct product *product, struct error *err) {
    struct shape shape = shape_of(product);
    struct choice *choice = place_of(p, &shape);
    struct call call;
    if (!describe(&call, product))
        return error_set(err, STATUS_IO, "cuBLASLt: cannot describe a product");
    if (memcmp(&choice->shape, &shape, sizeof shape) != 0) {
        enum status status =
            blas_status(ask(p, &call, &choice->algorithm), "choice of an algorithm", err);
        if (status != STATUS_OK)
            return status;
        choice->shape = shape;
    }
    const void *c = product->c ? product->c : product->d;
    return blas_status(cublasLtMatmul(p->handle, &call.operation, &product->alpha, product->a,
                                      &call.a, product->b, &call.b, &product->beta, c, &call.d,
                                      product->d, &call.d, &choice->algorithm, p->workspace,
                                      WORKSPACE_BYTES, CARD_STREAM),
                       "product", err);
}

/* ---- linear layers -------------------------------------------------------- */

enum status products_forward(struct products *p, const struct layer_forward *l,
                             struct error *err) {
    struct product product = {};
    product.m = l->out, product.n = l->rows, product.k = l->in;
    product.transpose_a = true;
    product.lda = product.ldb = l->in;
    product.ldd = l->out;
    product.in = l->dtype, product.out = l->result;
    product.a = l->weight, product.b = l->x, product.d = l->y;
    product.alpha = 1;
    product.bias = l->bias;
    product.relu = l->relu;
    return products_run(p, &product, err);
}

enum status products_backward(struct products *p, const struct layer_backward *l,
                              struct error *err) {
    struct product inputs = {};
    inputs.m = l->in, inputs.n = l->rows, inputs.k = l->out;
    inputs.lda = inputs.ldd = l->in;
    inputs.ldb = l->out;
    inputs.in = l->dtype, inputs.out = l->result;
    inputs.a = l->weight, inputs.b = l->dy, inputs.d = l->dx;
    inputs.alpha = 1;
    inputs.beta = l->add ? 1.0f : 0.0f;

    struct product weights = {};
    weights.m = l->in, weights.n = l->out, weights.k = l->rows;
    weights.transpose_b = true;
    weights.lda = weights.ldd = l->in;
    weights.ldb = l->out;
    weights.in = l->dtype, weights.out = DTYPE_F32;
    weights.a = l->x, weights.b = l->dy, weights.d = l->weight_grad;
    weights.alpha = weights.beta = 1;

    enum status status = products_run(p, &inputs, err);
    return status == STATUS_OK ? products_run(p, &weights, err) : status;
}
