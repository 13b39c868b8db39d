#include "train/cuda/attention.h"

#include "train/cuda/attention_bf16.h"

enum { WARPS = 4, THREADS = WARPS * ROW_LANES, PER_LANE = ATTENTION_MAX_HEAD / ROW_LANES };

/* A warp's row of a head: its first number in qkv, and in out and d_out. */
struct head_row {
    int row, position, length;
    size_t head, qkv, out, at; /* at: in logsumexp, delta and the keys */
    int head_dim;
    float scale;
};

static __device__ bool find_row(const struct card_attention *p, struct head_row *h) {
    h->row = (int)(blockIdx.x * WARPS + threadIdx.x / ROW_LANES);
    if (h->row >= p->rows)
        return false;
    h->head = blockIdx.y;
    h->head_dim = p->d_model / p->heads;
    h->out = (size_t)h->row * (size_t)p->d_model + h->head * (size_t)h->head_dim;
    h->qkv = 3 * (size_t)h->row * (size_t)p->d_model + h->head * (size_t)h->head_dim;
    h->at = h->head * (size_t)p->stride + (size_t)h->row;
    h->position = p->positions[h->row];
    h->length = p->lengths[h->row];
    h->scale = 1 / sqrtf((float)h->head_dim);
    return true;
}

/* The warp's columns of a row of a head. */
template <typename T>
static __device__ void load_row(float *values, const T *from, int head_dim) {
    EACH_COLUMN (i, column, head_dim)
        values[i] = to_float(from[column]);
}

static __device__ float dot(const float *x, const float *y, int head_dim) {
    float sum = 0;
    EACH_COLUMN (i, column, head_dim)
        sum += x[i] * y[i];
    return row_sum(sum);
}

static __device__ void add_scaled(float *y, float scale, const float *x, int head_dim) {
    EACH_COLUMN (i, column, head_dim)
        y[i] += scale * x[i];
}

static __device__ float kept_share(const struct card_attention *p, size_t at, int key) {
    return p->dropout.keys ? drop(1, p->dropout.keys[at], (uint32_t)key, p->dropout.threshold,
                                  p->dropout.scale)
                           : 1;
}

/* ---- F32: one row of one head ---------------------------------------------- */

static __global__ void attention_rows(struct card_attention p) {
    struct head_row h;
    if (!find_row(&p, &h))
        return;
    const float *qkv = (const float *)p.qkv;
    float q[PER_LANE] = {}, other[PER_LANE] = {}, out[PER_LANE] = {};
    struct online_softmax softmax = {-INFINITY, 0};
    size_t d_model = (size_t)p.d_model, first = h.qkv - 3 * (size_t)h.position * d_model;
    load_row(q, qkv + h.qkv, h.head_dim);
    for (int key = 0; key < (p.unmasked ? h.length : h.position + 1); key++) {
        size_t at = first + 3 * (size_t)key * d_model;
        float kept;
        load_row(other, qkv + at + d_model, h.head_dim);
        float share =
            online_softmax_take(&softmax, h.scale * dot(q, other, h.head_dim), &kept);
        load_row(other, qkv + at + 2 * d_model, h.head_dim);
        EACH_COLUMN (i, column, h.head_dim)
            out[i] = out[i] * kept + share * kept_share(&p, h.at, key) * other[i];
    }
    EACH_COLUMN (i, column, h.head_dim)
        ((float *)p.out)[h.out + (size_t)column] = out[i] / softmax.sum;
    if (ROW_LANE == 0)
        p.logsumexp[h.at] = softmax.max + logf(softmax.sum);
}

/* delta = dO . O, in both dtypes. */
template <typename T> static __global__ void delta_rows(struct card_attention p) {
    struct head_row h;
    if (!find_row(&p, &h))
        return;
    float d_out[PER_LANE] = {}, out[PER_LANE] = {};
    load_row(d_out, (const T *)p.d_out + h.out, h.head_dim);
    load_row(out, (const T *)p.out + h.out, h.head_dim);
    float total = dot(d_out, out, h.head_dim);
    if (ROW_LANE == 0)
        p.delta[h.at] = total;
}

/* What a query and a key have to do with each other: P, and dS times the scale. */
struct pair {
    float probability, d_score;
};

/* `query` is the query's place in logsumexp, `key` the key's in its span. */
static __device__ struct pair pair_of(const struct card_attention *p, const struct head_row *h,
                                      size_t query, int key, float score, float d_probability) {
    float softmax = expf(h->scale * score - p->logsumexp[query]);
    float kept = kept_share(p, query, key);
    struct pair pair;
    pair.probability = softmax * kept;
    pair.d_score = h->scale * score_gradient(softmax, d_probability * kept, p->delta[query]);
    return pair;
}

static __global__ void query_gradient_rows(struct card_attention p) {
    struct head_row h;
    if (!find_row(&p, &h))
        return;
    const float *qkv = (const float *)p.qkv;
    float q[PER_LANE] = {}, d_out[PER_LANE] = {}, dq[PER_LANE] = {}, k[PER_LANE] = {},
          v[PER_LANE] = {};
    size_t d_model = (size_t)p.d_model, first = h.qkv - 3 * (size_t)h.position * d_model;
    load_row(q, qkv + h.qkv, h.head_dim);
    load_row(d_out, (const float *)p.d_out + h.out, h.head_dim);
    for (int key = 0; key < (p.unmasked ? h.length : h.position + 1); key++) {
        size_t at = first + 3 * (size_t)key * d_model;
        load_row(k, qkv + at + d_model, h.head_dim);
        load_row(v, qkv + at + 2 * d_model, h.head_dim);
        struct pair pair = pair_of(&p, &h, h.at, key, dot(q, k, h.head_dim),
                                   dot(d_out, v, h.head_dim));
        add_scaled(dq, pair.d_score, k, h.head_dim);
    }
    EACH_COLUMN (i, column, h.head_dim)
        ((float *)p.d_qkv)[h.qkv + (size_t)column] = dq[i];
}

static __global__ void key_gradient_rows(struct card_attention p) {
    struct head_row h;
    if (!find_row(&p, &h))
        return;
    const float *qkv = (const float *)p.qkv;
    float k[PER_LANE] = {}, v[PER_LANE] = {}, dk[PER_LANE] = {}, dv[PER_LANE] = {},
          q[PER_LANE] = {}, d_out[PER_LANE] = {};
    size_t d_model = (size_t)p.d_model;
    load_row(k, qkv + h.qkv + d_model, h.head_dim);
    load_row(v, qkv + h.qkv + 2 * d_model, h.head_dim);
    for (int query = p.unmasked ? 0 : h.position; query < h.length; query++) {
        int away = query - h.position; /* below 0 only where nothing is masked */
        load_row(q, qkv + (ptrdiff_t)h.qkv + 3 * away * (ptrdiff_t)d_model, h.head_dim);
        load_row(d_out, (const float *)p.d_out + (ptrdiff_t)h.out + away * (ptrdiff_t)d_model,
                 h.head_dim);
        struct pair pair = pair_of(&p, &h, (size_t)((ptrdiff_t)h.at + away), h.position,
                                   dot(q, k, h.head_dim), dot(d_out, v, h.head_dim));
        add_scaled(dk, pair.d_score, q, h.head_dim);
        add_scaled(dv, pair.probability, d_out, h.head_dim);
    }
    EACH_COLUMN (i, column, h.head_dim) {
        ((float *)p.d_qkv)[h.qkv + d_model + (size_t)column] = dk[i];
        ((float *)p.d_qkv)[h.qkv + 2 * d_model + (size_t)column] = dv[i];
    }
}

/* ---- launches ------------------------------------------------------------- */

static dim3 blocks_of(const struct card_attention *p) {
    return dim3(blocks_for((size_t)p->rows, WARPS), (unsigned)p->heads);
}

void launch_attention(enum dtype dtype, const struct card_attention *p) {
    if (dtype == DTYPE_BF16)
        launch_attention_bf16(p);
    else
        LAUNCH(attention_rows, blocks_of(p), THREADS, *p);
}

void launch_attention_gradient(enum dtype dtype, const struct card_attention *p) {
    if (dtype == DTYPE_BF16) {
        LAUNCH(delta_rows<bf16>, blocks_of(p), THREADS, *p);
        launch_attention_gradient_bf16(p);
        return;
    }
    LAUNCH(delta_rows<float>, blocks_of(p), THREADS, *p);
    LAUNCH(query_gradient_rows, blocks_of(p), THREADS, *p);
    LAUNCH(key_gradient_rows, blocks_of(p), THREADS, *p);
}
