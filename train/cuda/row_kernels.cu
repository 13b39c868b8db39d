#include "train/cuda/row_kernels.h"

enum { WARPS = 8, THREADS = WARPS * ROW_LANES, STEP = 8 };

/* Calls FUNCTION<number type>(...). */
#define BY_TYPE(dtype, function, ...)                                                           \
    ((dtype) == DTYPE_BF16 ? function<bf16>(__VA_ARGS__) : function<float>(__VA_ARGS__))

static __global__ void to_bf16(bf16 *y, const float *x, size_t count) {
    size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count)
        y[i] = __float2bfloat16(x[i]);
}

void launch_to_bf16(bf16 *y, const float *x, size_t count) {
    LAUNCH(to_bf16, blocks_for(count, THREADS), THREADS, y, x, count);
}

/* ---- embedding ------------------------------------------------------------ */

template <typename T> static __global__ void embed(struct embed_pass p) {
    size_t row = blockIdx.x, n = (size_t)p.d_model;
    const float *e = p.embedding + (size_t)p.ids[row] * n;
    const float *position = p.position_table + (size_t)p.positions[row] * n;
    for (size_t i = threadIdx.x; i < n; i += blockDim.x) {
        float x = e[i] * p.scale + position[i];
        p.carry[row * n + i] = x;
        from_float((T *)p.x + row * n + i, x);
    }
}

template <typename T> static void start_embed(const struct embed_pass *p) {
    LAUNCH(embed<T>, (unsigned)p->rows, 128, *p);
}

void launch_embed(enum dtype dtype, const struct embed_pass *p) {
    BY_TYPE(dtype, start_embed, p);
}

/* A block for each id, because two rows may have the same. */
static __global__ void embed_gradient(struct embed_gradient p) {
    int id = (int)blockIdx.x, begin = p.starts[id], end = p.starts[id + 1];
    size_t n = (size_t)p.d_model;
    for (size_t i = threadIdx.x; i < n && begin < end; i += blockDim.x) {
        float sum = 0;
#pragma unroll 8
        for (int at = begin; at < end; at++)
            sum += p.dx[(size_t)p.order[at] * n + i];
        p.gradient[(size_t)id * n + i] += p.scale * sum;
    }
}

void launch_embed_gradient(const struct embed_gradient *p) {
    LAUNCH(embed_gradient, (unsigned)p->vocab, blocks_for((size_t)p->d_model, 32) * 32, *p);
}

/* ---- dropout -------------------------------------------------------------- */

static __global__ void dropout_keys(struct key_pass p) {
    int row = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    int layer = (int)blockIdx.y / p.sites, site = (int)blockIdx.y % p.sites;
    if (row < p.rows)
        p.keys[(size_t)blockIdx.y * (size_t)p.stride + (size_t)row] =
            dropout_key(p.step_key, p.at[row], layer, site);
}

void launch_dropout_keys(const struct key_pass *p) {
    dim3 blocks(blocks_for((size_t)p->rows, THREADS), (unsigned)(p->layers * p->sites));
    LAUNCH(dropout_keys, blocks, THREADS, *p);
}

template <typename T>
static __global__ void drop_values(T *values, int columns, struct row_dropout dropout) {
    int column = (int)(blockIdx.y * blockDim.x + threadIdx.x) * STEP;
    size_t row = blockIdx.x;
    if (column >= columns)
        return;
    pack<T, STEP> *at = (pack<T, STEP> *)(values + row * (size_t)columns + column);
    pack<T, STEP> v = *at;
    uint32_t key = dropout.keys[row];
    UNROLL for (int i = 0; i < STEP; i++)
        from_float(&v.values[i], drop(to_float(v.values[i]), key, (uint32_t)(column + i),
                                      dropout.threshold, dropout.scale));
    *at = v;
}

template <typename T>
static void start_drop(void *values, int rows, int columns, const struct row_dropout *dropout) {
    dim3 blocks((unsigned)rows, blocks_for((size_t)columns, THREADS * STEP));
    LAUNCH(drop_values<T>, blocks, THREADS, (T *)values, columns, *dropout);
}

void launch_drop(enum dtype dtype, void *values, int rows, int columns,
                 const struct row_dropout *dropout) {
    BY_TYPE(dtype, start_drop, values, rows, columns, dropout);
}

/* ---- residual and norm ---------------------------------------------------- */

/* The smallest number of columns for a thread of a warp that makes a row of n. */
#define BY_WIDTH(n, function, T, ...)                                                           \
    ((n) <= 2 * ROW_LANES    ? function<T, 2>(__VA_ARGS__)                                      \
     : (n) <= 8 * ROW_LANES  ? function<T, 8>(__VA_ARGS__)                                      \
     : (n) <= 16 * ROW_LANES ? function<T, 16>(__VA_ARGS__)                                     \
                             : function<T, 32>(__VA_ARGS__))

template <typename T, int PER_LANE> static __global__ void norm_rows(struct norm_pass p) {
    int row = (int)(blockIdx.x * WARPS + threadIdx.x / ROW_LANES), n = p.norm.n;
    if (row >= p.rows)
        return;
    size_t begin = (size_t)row * (size_t)n;
    float x[PER_LANE], y[PER_LANE], mean, rstd;
    EACH_COLUMN (i, column, n)
        x[i] = to_float(((const T *)p.branch)[begin + column]);
    row_drop<PER_LANE>(x, n, &p.dropout, row);
    EACH_COLUMN (i, column, n)
        x[i] += p.carry[begin + column];
    row_norm_forward<PER_LANE>(&p.norm, y, x, &mean, &rstd);
    EACH_COLUMN (i, column, n) {
        p.carry[begin + column] = y[i];
        from_float((T *)p.y + begin + column, y[i]);
        if (p.residual)
            p.residual[begin + column] = x[i];
    }
    if (ROW_LANE == 0) {
        p.stats[2 * row] = mean;
        p.stats[2 * row + 1] = rstd;
    }
}

template <typename T, int PER_LANE> static void start_norm_width(const struct norm_pass *p) {
    LAUNCH((norm_rows<T, PER_LANE>), blocks_for((size_t)p->rows, WARPS), THREADS, *p);
}
template <typename T> static void start_norm(const struct norm_pass *p) {
    BY_WIDTH(p->norm.n, start_norm_width, T, p);
}

void launch_norm(enum dtype dtype, const struct norm_pass *p) {
    BY_TYPE(dtype, start_norm, p);
}

/* Adds up what the warps of a block have of each column, in their order. */
template <int PER_LANE>
static __device__ void add_warps(float *sums, const float *mine, int n) {
    __shared__ float warps[WARPS][PER_LANE * ROW_LANES];
    __syncthreads();
    EACH_COLUMN (i, column, n)
        warps[threadIdx.x / ROW_LANES][column] = mine[i];
    __syncthreads();
    for (int column = (int)threadIdx.x; column < n; column += THREADS) {
        float sum = 0;
        for (int w = 0; w < WARPS; w++)
            sum += warps[w][column];
        sums[column] = sum;
    }
}

template <typename T, int PER_LANE>
static __global__ void __launch_bounds__(THREADS, PER_LANE <= 16 ? 2 : 1)
norm_gradient_rows(struct norm_gradient p) {
    int n = p.norm.n;
    float weight_sum[PER_LANE] = {}, bias_sum[PER_LANE] = {}, branch_sum[PER_LANE] = {};
    for (int row = (int)(blockIdx.x * WARPS + threadIdx.x / ROW_LANES); row < p.rows;
         row += NORM_PARTS * WARPS) {
        size_t begin = (size_t)row * (size_t)n;
        float d[PER_LANE], x[PER_LANE], stats[2] = {p.stats[2 * row], p.stats[2 * row + 1]};
        EACH_COLUMN (i, column, n) {
            d[i] = p.dx[begin + column];
            x[i] = p.residual[begin + column];
        }
        row_norm_backward<PER_LANE>(&p.norm, d, x, stats, weight_sum, bias_sum);
        EACH_COLUMN (i, column, n)
            p.dx[begin + column] = d[i];
        row_drop<PER_LANE>(d, n, &p.dropout, row);
        EACH_COLUMN (i, column, n) {
            branch_sum[i] += d[i];
            from_float((T *)p.d_branch + begin + column, d[i]);
        }
    }
    float *parts = p.parts + (size_t)blockIdx.x * 3 * (size_t)n;
    add_warps<PER_LANE>(parts, weight_sum, n);
    add_warps<PER_LANE>(parts + n, bias_sum, n);
    add_warps<PER_LANE>(parts + 2 * n, branch_sum, n);
}

/* ---- sums over rows ------------------------------------------------------- */

/* parts[count, vectors, columns] are added up over the count, each vector to one of `sums`. */
struct part_sums {
    const float *parts;
    int count, columns;
    float *sums[3];
};

/* 32 columns by 8 threads each, whose sums are then added in order. */
static __global__ void add_parts(struct part_sums p) {
    __shared__ float sums[WARPS][ROW_LANES];
    int column = (int)(blockIdx.x * ROW_LANES + threadIdx.x % ROW_LANES);
    int group = (int)threadIdx.x / ROW_LANES, vectors = (int)gridDim.y;
    float sum = 0;
    for (int part = group; part < p.count && column < p.columns; part += WARPS)
        sum += p.parts[((size_t)part * (size_t)vectors + blockIdx.y) * (size_t)p.columns + column];
    sums[group][threadIdx.x % ROW_LANES] = sum;
    __syncthreads();
    if (group > 0 || column >= p.columns)
        return;
    for (int g = 1; g < WARPS; g++)
        sum += sums[g][threadIdx.x];
    float *total = blockIdx.y == 0 ? p.sums[0] : blockIdx.y == 1 ? p.sums[1] : p.sums[2];
    total[column] += sum;
}

static void start_add_parts(const struct part_sums *p, unsigned vectors) {
    dim3 blocks(blocks_for((size_t)p->columns, ROW_LANES), vectors);
    LAUNCH(add_parts, blocks, THREADS, *p);
}

template <typename T, int PER_LANE>
static void start_norm_gradient_width(const struct norm_gradient *p) {
    LAUNCH((norm_gradient_rows<T, PER_LANE>), NORM_PARTS, THREADS, *p);
}
template <typename T> static void start_norm_gradient(const struct norm_gradient *p) {
    BY_WIDTH(p->norm.n, start_norm_gradient_width, T, p);
}

void launch_norm_gradient(enum dtype dtype, const struct norm_gradient *p) {
    BY_TYPE(dtype, start_norm_gradient, p);
    struct part_sums sums = {
        p->parts, NORM_PARTS, p->norm.n, {p->weight_grad, p->bias_grad, p->branch_bias_grad}};
    start_add_parts(&sums, 3);
}

/* A thread's COLUMNS columns of every COLUMN_PARTS'th row. */
template <typename T, int COLUMNS, bool RELU>
static __global__ void sum_columns(struct column_sums p) {
    int column = (int)(blockIdx.x * blockDim.x + threadIdx.x) * COLUMNS;
    if (column >= p.columns)
        return;
    float sums[COLUMNS] = {};
#pragma unroll 4
    for (int row = (int)blockIdx.y; row < p.rows; row += COLUMN_PARTS) {
        size_t at = (size_t)row * (size_t)p.columns + (size_t)column;
        pack<T, COLUMNS> *values = (pack<T, COLUMNS> *)((T *)p.values + at), v = *values;
        if (RELU) {
            pack<T, COLUMNS> y = *(const pack<T, COLUMNS> *)((const T *)p.outputs + at);
            UNROLL for (int i = 0; i < COLUMNS; i++) {
                float d = relu_gradient(to_float(v.values[i]), to_float(y.values[i]), p.scale);
                from_float(&v.values[i], d);
                sums[i] += d;
            }
            *values = v;
        } else {
            UNROLL for (int i = 0; i < COLUMNS; i++)
                sums[i] += to_float(v.values[i]);
        }
    }
    for (int i = 0; i < COLUMNS; i++)
        p.parts[(size_t)blockIdx.y * (size_t)p.columns + column + i] = sums[i];
}

template <typename T, int COLUMNS> static void start_sum_columns(const struct column_sums *p) {
    dim3 blocks(blocks_for((size_t)p->columns, 128 * COLUMNS), COLUMN_PARTS);
    if (p->outputs)
        LAUNCH((sum_columns<T, COLUMNS, true>), blocks, 128, *p);
    else
        LAUNCH((sum_columns<T, COLUMNS, false>), blocks, 128, *p);
}
template <typename T> static void start_column_sums(const struct column_sums *p) {
    if (p->columns % STEP == 0)
        start_sum_columns<T, STEP>(p);
    else
        start_sum_columns<T, 1>(p);
}

void launch_column_sums(enum dtype dtype, const struct column_sums *p) {
    BY_TYPE(dtype, start_column_sums, p);
    struct part_sums sums = {p->parts, COLUMN_PARTS, p->columns, {p->sums}};
    start_add_parts(&sums, 1);
}
