/* The launches of row_kernels.h that work on logits: a block for each row. */
#include "train/cuda/row_kernels.h"

enum { WARPS = 8, THREADS = WARPS * ROW_LANES };

/* Of all threads of the block, in a fixed order. */
static __device__ float block_sum(float x) {
    __shared__ float warps[WARPS];
    x = row_sum(x);
    __syncthreads();
    if (ROW_LANE == 0)
        warps[threadIdx.x / ROW_LANES] = x;
    __syncthreads();
    float sum = 0;
    for (int w = 0; w < WARPS; w++)
        sum += warps[w];
    return sum;
}

static __device__ float block_max(float x) {
    __shared__ float warps[WARPS];
    x = row_max(x);
    __syncthreads();
    if (ROW_LANE == 0)
        warps[threadIdx.x / ROW_LANES] = x;
    __syncthreads();
    float max = warps[0];
    for (int w = 1; w < WARPS; w++)
        max = fmaxf(max, warps[w]);
    return max;
}

/* log(sum(exp(x[n]))), the maximum taken out of it. NaN where a number is. */
static __device__ float log_of_sum(const float *x, int n) {
    float max = -INFINITY, sum = 0;
    for (int i = (int)threadIdx.x; i < n; i += THREADS)
        max = fmaxf(max, x[i]);
    max = block_max(max);
    for (int i = (int)threadIdx.x; i < n; i += THREADS)
        sum += expf(x[i] - max);
    return max + logf(block_sum(sum));
}

template <typename T> static __global__ void loss_rows(struct loss_pass p) {
    size_t row = blockIdx.x, begin = row * (size_t)p.vocab;
    const float *logits = p.logits + begin;
    const float *soft = p.soft ? p.soft + begin : NULL;
    T *gradient = p.gradient ? (T *)p.gradient + begin : NULL;
    int target = p.targets[row];
    if (target < 0) {
        for (int i = (int)threadIdx.x; i < p.vocab && gradient; i += THREADS)
            from_float(&gradient[i], 0);
        if (threadIdx.x == 0)
            p.row_losses[row] = 0;
        return;
    }
    float logsumexp = log_of_sum(logits, p.vocab);
    if (threadIdx.x == 0)
        p.row_losses[row] = logsumexp - logits[target];
    __syncthreads(); /* in F32 the gradient takes the logits' place */
    for (int i = (int)threadIdx.x; i < p.vocab && gradient; i += THREADS)
        from_float(&gradient[i], logit_gradient(&p.target, expf(logits[i] - logsumexp), i == target,
                                                soft ? soft[i] : 0));
}

/* One block, so that the sum has one order. */
static __global__ void add_losses(const float *row_losses, int rows, double *loss) {
    __shared__ double sums[THREADS];
    double sum = 0;
    for (int row = (int)threadIdx.x; row < rows; row += THREADS)
        sum += (double)row_losses[row];
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x > 0)
        return;
    for (int i = 1; i < THREADS; i++)
        sum += sums[i];
    *loss += sum;
}

template <typename T> static void start_loss(const struct loss_pass *p) {
    LAUNCH(loss_rows<T>, (unsigned)p->rows, THREADS, *p);
}

void launch_loss(enum dtype dtype, const struct loss_pass *p) {
    if (dtype == DTYPE_BF16)
        start_loss<bf16>(p);
    else
        start_loss<float>(p);
    LAUNCH(add_losses, 1, THREADS, p->row_losses, p->rows, p->loss);
}

static __global__ void teacher_rows(const float *logits, float *mean, int vocab, float share,
                                    bool add) {
    size_t begin = (size_t)blockIdx.x * (size_t)vocab;
    float logsumexp = log_of_sum(logits + begin, vocab);
    for (int i = (int)threadIdx.x; i < vocab; i += THREADS) {
        float p = share * expf(logits[begin + i] - logsumexp);
        mean[begin + i] = add ? mean[begin + i] + p : p;
    }
}

void launch_teacher(const float *logits, float *mean, int rows, int vocab, float share, bool add) {
    LAUNCH(teacher_rows, (unsigned)rows, THREADS, logits, mean, vocab, share, add);
}
