/* Attention in BF16: see attention.h. */
#include "train/cuda/attention_bf16.h"
#include "train/cuda/tensor_core.h"

enum {
    WARPS = 4,
    THREADS = 32 * WARPS,
    WARP_ROWS = ATTENTION_TILE / WARPS, /* 16, the rows of an instruction */
    COLUMNS = ATTENTION_MAX_HEAD,
    STRIDE = COLUMNS + 8, /* of a tile in shared memory: eight rows begin in different banks */
    STEPS = COLUMNS / 16, /* of 16 columns along a head */
    EIGHTS = COLUMNS / 8, /* of 8 columns along a head */
    STRIP = 32,           /* rows of a tile at a time in the gradients, for want of registers */
};

typedef bf16 tile[ATTENTION_TILE][STRIDE];
/* What a warp has of its 16 rows: an operand [16][64], and sums [16][64]. Of fewer columns the
 * arrays are shorter, and functions take what they get. */
typedef uint32_t operand[STEPS][4];
typedef float sums[EIGHTS][4];

/* ---- tiles ---------------------------------------------------------------- */

/* Copies rows of a head, STEP numbers at once, with zeros for what lies beyond them. */
template <int STEP>
static __device__ void copy_rows(tile to, const bf16 *from, size_t stride, int rows, int head_dim) {
    const int packs = COLUMNS / STEP;
    for (int i = (int)threadIdx.x; i < ATTENTION_TILE * packs; i += THREADS) {
        int row = i / packs, column = i % packs * STEP;
        pack<bf16, STEP> v = {};
        if (row < rows && column < head_dim)
            v = *(const pack<bf16, STEP> *)(from + (size_t)row * stride + column);
        *(pack<bf16, STEP> *)&to[row][column] = v;
    }
}

static __device__ void load_tile(tile to, const bf16 *from, size_t stride, int rows, int head_dim) {
    if (head_dim % 8 == 0)
        copy_rows<8>(to, from, stride, rows, head_dim);
    else if (head_dim % 2 == 0)
        copy_rows<2>(to, from, stride, rows, head_dim);
    else
        copy_rows<1>(to, from, stride, rows, head_dim);
}

/* ---- products of a warp ---------------------------------------------------- */

/* The warp's 16 rows of a tile as a first operand. */
static __device__ void load_operand(operand a, const tile from) {
    int lane = (int)threadIdx.x % 32, row = (int)threadIdx.x / 32 * WARP_ROWS + lane % 16;
    UNROLL for (int step = 0; step < STEPS; step++)
        load_matrices(a[step], &from[row][step * 16 + lane / 16 * 8]);
}

/* s[16][8 N] = a b^T, where b is 8 N rows of a tile */
template <int N>
static __device__ void multiply_rows(float (&s)[N][4], const operand a, const bf16 (*b)[STRIDE]) {
    int lane = (int)threadIdx.x % 32;
    UNROLL for (int n = 0; n < N; n++) {
        UNROLL for (int i = 0; i < 4; i++)
            s[n][i] = 0;
        UNROLL for (int step = 0; step < STEPS; step += 2) {
            uint32_t r[4];
            load_matrices(r, &b[n * 8 + lane % 8][step * 16 + lane / 8 * 8]);
            tensor_product(s[n], a[step], r[0], r[1]);
            tensor_product(s[n], a[step + 1], r[2], r[3]);
        }
    }
}

/* s[16][64] += a b, where b is 16 N rows of a tile */
template <int N>
static __device__ void add_columns(sums s, const uint32_t (&a)[N][4], const bf16 (*b)[STRIDE]) {
    int lane = (int)threadIdx.x % 32;
    UNROLL for (int n = 0; n < EIGHTS; n += 2) {
        UNROLL for (int step = 0; step < N; step++) {
            uint32_t r[4];
            load_transposed(r, &b[step * 16 + lane % 16][n * 8 + lane / 16 * 8]);
            tensor_product(s[n], a[step], r[0], r[1]);
            tensor_product(s[n + 1], a[step], r[2], r[3]);
        }
    }
}

/* Sums are an operand once they are rounded: a lane holds the same rows and columns of both. */
template <int N>
static __device__ void round_to_operand(uint32_t (&a)[N][4], const float (&s)[2 * N][4]) {
    UNROLL for (int step = 0; step < N; step++) {
        a[step][0] = pack_pair(s[2 * step][0], s[2 * step][1]);
        a[step][1] = pack_pair(s[2 * step][2], s[2 * step][3]);
        a[step][2] = pack_pair(s[2 * step + 1][0], s[2 * step + 1][1]);
        a[step][3] = pack_pair(s[2 * step + 1][2], s[2 * step + 1][3]);
    }
}

/* Where in its tile sums[n][i] of this lane is. */
static __device__ int row_of(int i) {
    return (int)threadIdx.x / 32 * WARP_ROWS + (int)threadIdx.x % 32 / 4 + i / 2 * 8;
}
static __device__ int column_of(int n, int i) {
    return n * 8 + (int)threadIdx.x % 4 * 2 + i % 2;
}

/* Of the four lanes that share a row. */
static __device__ float quad_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}
static __device__ float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

/* ---- a head of a span ----------------------------------------------------- */

struct head {
    const bf16 *q, *k, *v, *d_out; /* the span's first row */
    size_t stride;                 /* of q, k and v; d_out's is d_model */
    size_t d_model, column;        /* where the head begins in out and d_out */
    size_t first, at;              /* where the span begins: its row; in logsumexp, delta, keys */
    int head_dim, rows, begin;     /* of the head, the span, the tile */
    float scale;
};

static __device__ struct head head_of(const struct card_attention *p) {
    struct attention_tile t = p->tiles[blockIdx.x];
    struct head h;
    h.d_model = (size_t)p->d_model;
    h.head_dim = p->d_model / p->heads;
    h.column = blockIdx.y * (size_t)h.head_dim;
    h.stride = 3 * h.d_model;
    h.first = (size_t)t.first;
    h.q = (const bf16 *)p->qkv + h.first * h.stride + h.column;
    h.k = h.q + h.d_model;
    h.v = h.k + h.d_model;
    h.d_out = (const bf16 *)p->d_out + h.first * h.d_model + h.column;
    h.at = blockIdx.y * (size_t)p->stride + h.first;
    h.rows = t.rows;
    h.begin = t.begin;
    h.scale = rsqrtf((float)h.head_dim);
    return h;
}

static __device__ void load_head(tile to, const struct head *h, const bf16 *from, int begin) {
    size_t stride = from == h->d_out ? h->d_model : h->stride;
    load_tile(to, from + (size_t)begin * stride, stride, h->rows - begin, h->head_dim);
}

/* Writes the warp's rows of the tile, times `scale`, each row `stride` from the last. Two columns
 * of a head lie at a multiple of their size where its width is even. */
static __device__ void store_rows(bf16 *to, size_t stride, const struct head *h, const sums s,
                                  const float scale[2]) {
    bool pairs = h->head_dim % 2 == 0;
    UNROLL for (int half = 0; half < 2; half++) {
        int row = h->begin + row_of(2 * half);
        if (row >= h->rows)
            continue;
        UNROLL for (int n = 0; n < EIGHTS; n++) {
            int column = column_of(n, 0), left = h->head_dim - column;
            bf16 *at = to + (size_t)row * stride + (size_t)column;
            pack<bf16, 2> v = {{__float2bfloat16(s[n][2 * half] * scale[half]),
                                __float2bfloat16(s[n][2 * half + 1] * scale[half])}};
            if (pairs && left > 0)
                *(pack<bf16, 2> *)at = v;
            else if (left > 0) {
                at[0] = v.values[0];
                if (left > 1)
                    at[1] = v.values[1];
            }
        }
    }
}

static __device__ bool sees(const struct card_attention *p, const struct head *h, int query,
                            int key) {
    return key < h->rows && (p->unmasked || key <= query);
}

/* Rows from which on no query of this tile sees a key, a whole tile's or the span's. */
static __device__ int keys_end(const struct card_attention *p, const struct head *h) {
    return p->unmasked ? h->rows : min(h->begin + ATTENTION_TILE, h->rows);
}

/* ---- forward -------------------------------------------------------------- */

/* Of a lane's two rows. */
struct softmax_so_far {
    float max[2], sum[2];
};

/* One tile of keys: from s, the scores, to P before the division by the sum; the sum and out so far
 * are brought to the new maximum. */
static __device__ void soften(const struct card_attention *p, const struct head *h, int keys,
                              sums s, struct softmax_so_far *so_far, sums out) {
    float *max = so_far->max, *sum = so_far->sum;
    float now[2] = {max[0], max[1]}, kept[2], part[2] = {0, 0};
    UNROLL for (int n = 0; n < EIGHTS; n++)
        UNROLL for (int i = 0; i < 4; i++) {
            bool seen = sees(p, h, h->begin + row_of(i), keys + column_of(n, i));
            s[n][i] = seen ? s[n][i] * h->scale : -INFINITY;
            now[i / 2] = fmaxf(now[i / 2], s[n][i]);
        }
    UNROLL for (int half = 0; half < 2; half++) {
        now[half] = quad_max(now[half]);
        kept[half] = __expf(max[half] - now[half]);
        max[half] = now[half];
    }
    UNROLL for (int n = 0; n < EIGHTS; n++)
        UNROLL for (int i = 0; i < 4; i++) {
            s[n][i] = __expf(s[n][i] - now[i / 2]);
            part[i / 2] += s[n][i];
            out[n][i] *= kept[i / 2];
        }
    UNROLL for (int half = 0; half < 2; half++)
        sum[half] = sum[half] * kept[half] + quad_sum(part[half]);
}

/* The keys of dropout for this lane's two rows; 0 beyond the span, where nothing is kept. */
static __device__ void row_keys(const struct card_attention *p, const struct head *h,
                                uint32_t key[2]) {
    UNROLL for (int half = 0; half < 2; half++) {
        int row = h->begin + row_of(2 * half);
        key[half] = p->dropout.keys && row < h->rows ? p->dropout.keys[h->at + (size_t)row] : 0;
    }
}

static __global__ void __launch_bounds__(THREADS) attention(struct card_attention p) {
    __shared__ __align__(16) tile queries, keys, values;
    struct head h = head_of(&p);
    struct softmax_so_far so_far = {{-INFINITY, -INFINITY}, {0, 0}};
    float scale[2];
    uint32_t key[2];
    operand q, probabilities;
    sums out = {};
    row_keys(&p, &h, key);
    load_head(queries, &h, h.q, h.begin);
    __syncthreads();
    load_operand(q, queries);
    for (int begin = 0; begin < keys_end(&p, &h); begin += ATTENTION_TILE) {
        sums s;
        __syncthreads();
        load_head(keys, &h, h.k, begin);
        load_head(values, &h, h.v, begin);
        __syncthreads();
        multiply_rows(s, q, keys);
        soften(&p, &h, begin, s, &so_far, out);
        if (p.dropout.keys)
            UNROLL for (int n = 0; n < EIGHTS; n++)
                UNROLL for (int i = 0; i < 4; i++)
                    s[n][i] = drop(s[n][i], key[i / 2], (uint32_t)(begin + column_of(n, i)),
                                   p.dropout.threshold, p.dropout.scale);
        round_to_operand(probabilities, s);
        add_columns(out, probabilities, values);
    }
    UNROLL for (int half = 0; half < 2; half++) {
        int row = h.begin + row_of(2 * half);
        scale[half] = 1 / so_far.sum[half];
        if (threadIdx.x % 4 == 0 && row < h.rows)
            p.logsumexp[h.at + (size_t)row] = so_far.max[half] + logf(so_far.sum[half]);
    }
    bf16 *to = (bf16 *)p.out + h.first * h.d_model + h.column;
    store_rows(to, h.d_model, &h, out, scale);
}

void launch_attention_bf16(const struct card_attention *p) {
    LAUNCH(attention, dim3((unsigned)p->tile_count, (unsigned)p->heads), THREADS, *p);
}

/* ---- backward ------------------------------------------------------------- */

/* What the gradient needs to know of a query. */
struct query {
    int row; /* in the span */
    float logsumexp, delta;
    uint32_t key; /* of dropout */
};

static __device__ struct query query_of(const struct card_attention *p, const struct head *h,
                                        int row) {
    struct query query = {row, 0, 0, 0};
    size_t at = h->at + (size_t)row;
    if (row < h->rows) {
        query.logsumexp = p->logsumexp[at];
        query.delta = p->delta[at];
        query.key = p->dropout.keys ? p->dropout.keys[at] : 0;
    }
    return query;
}

/* From a score and dP before dropout's share to P and dS; both 0 where nothing is seen. */
static __device__ void differentiate(const struct card_attention *p, const struct head *h,
                                     const struct query *query, int key, float *s, float *dp) {
    bool seen = query->row < h->rows && sees(p, h, query->row, key);
    float softmax = seen ? __expf(*s * h->scale - query->logsumexp) : 0;
    float kept = p->dropout.keys ? drop(1, query->key, (uint32_t)key, p->dropout.threshold,
                                        p->dropout.scale)
                                 : 1;
    *dp = score_gradient(softmax, *dp * kept, query->delta);
    *s = softmax * kept;
}

/* dQ of a tile of queries. */
static __global__ void __launch_bounds__(THREADS) query_gradient(struct card_attention p) {
    __shared__ __align__(16) tile first, second;
    struct head h = head_of(&p);
    operand q, d_out;
    sums dq = {};
    load_head(first, &h, h.q, h.begin);
    load_head(second, &h, h.d_out, h.begin);
    __syncthreads();
    load_operand(q, first);
    load_operand(d_out, second);
    const struct query queries[2] = {query_of(&p, &h, h.begin + row_of(0)),
                                     query_of(&p, &h, h.begin + row_of(2))};
    for (int strip = 0; strip < keys_end(&p, &h); strip += STRIP) {
        int within = strip % ATTENTION_TILE;
        float s[STRIP / 8][4], dp[STRIP / 8][4];
        uint32_t d_scores[STRIP / 16][4];
        if (within == 0) {
            __syncthreads();
            load_head(first, &h, h.k, strip);
            load_head(second, &h, h.v, strip);
            __syncthreads();
        }
        multiply_rows(s, q, first + within);
        multiply_rows(dp, d_out, second + within);
        UNROLL for (int n = 0; n < STRIP / 8; n++)
            UNROLL for (int i = 0; i < 4; i++) {
                int key = strip + column_of(n, i);
                differentiate(&p, &h, &queries[i / 2], key, &s[n][i], &dp[n][i]);
            }
        round_to_operand(d_scores, dp);
        add_columns(dq, d_scores, first + within);
    }
    const float scale[2] = {h.scale, h.scale};
    store_rows((bf16 *)p.d_qkv + (h.q - (const bf16 *)p.qkv), h.stride, &h, dq, scale);
}

/* dK and dV of a tile of keys: S and dP are made transposed, so that they are first operands. */
static __global__ void __launch_bounds__(THREADS) key_gradient(struct card_attention p) {
    __shared__ __align__(16) tile first, second;
    __shared__ struct query queries[ATTENTION_TILE];
    struct head h = head_of(&p);
    operand k, v;
    sums dk = {}, dv = {};
    load_head(first, &h, h.k, h.begin);
    load_head(second, &h, h.v, h.begin);
    __syncthreads();
    load_operand(k, first);
    load_operand(v, second);
    for (int strip = p.unmasked ? 0 : h.begin; strip < h.rows; strip += STRIP) {
        int within = strip % ATTENTION_TILE;
        float s[STRIP / 8][4], dp[STRIP / 8][4];
        uint32_t rounded[STRIP / 16][4];
        if (within == 0) {
            __syncthreads();
            load_head(first, &h, h.q, strip);
            load_head(second, &h, h.d_out, strip);
            if (threadIdx.x < ATTENTION_TILE)
                queries[threadIdx.x] = query_of(&p, &h, strip + (int)threadIdx.x);
            __syncthreads();
        }
        multiply_rows(s, k, first + within);
        multiply_rows(dp, v, second + within);
        UNROLL for (int n = 0; n < STRIP / 8; n++)
            UNROLL for (int i = 0; i < 4; i++) {
                const struct query *query = &queries[within + column_of(n, i)];
                differentiate(&p, &h, query, h.begin + row_of(i), &s[n][i], &dp[n][i]);
            }
        round_to_operand(rounded, s);
        add_columns(dv, rounded, second + within);
        round_to_operand(rounded, dp);
        add_columns(dk, rounded, first + within);
    }
    const float scale[2] = {h.scale, h.scale}, one[2] = {1, 1};
    store_rows((bf16 *)p.d_qkv + (h.k - (const bf16 *)p.qkv), h.stride, &h, dk, scale);
    store_rows((bf16 *)p.d_qkv + (h.v - (const bf16 *)p.qkv), h.stride, &h, dv, one);
}

void launch_attention_gradient_bf16(const struct card_attention *p) {
    dim3 blocks((unsigned)p->tile_count, (unsigned)p->heads);
    LAUNCH(query_gradient, blocks, THREADS, *p);
    LAUNCH(key_gradient, blocks, THREADS, *p);
}
