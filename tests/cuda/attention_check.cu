extern "C" {
#include "base/rng.h"
#include "model/model.h"
#include "tests/cuda/attention_check.h"
}
#include "train/cuda/card_batch.h"
#include "train/cuda/row_kernels.h"

#include <stdio.h>
#include <stdlib.h>

#include <vector>

/* Fails as the test does: by the process, with what went wrong. */
static void must(enum status status, const struct error *err) {
    if (status == STATUS_OK)
        return;
    fprintf(stderr, "attention_check: %s\n", err->message);
    abort();
}

struct card_memory {
    void *at;
    explicit card_memory(size_t bytes) {
        struct error err;
        must(card_status(cudaMalloc(&at, bytes), "memory", &err), &err);
    }
    ~card_memory() {
        cudaFree(at);
    }
    card_memory(const card_memory &) = delete;
    card_memory &operator=(const card_memory &) = delete;
};

/* What one dtype makes of the numbers. */
struct results {
    std::vector<float> out, logsumexp, d_qkv;
};

template <typename T> static void send(void *to, const std::vector<float> &values) {
    std::vector<T> numbers(values.size());
    for (size_t i = 0; i < values.size(); i++)
        numbers[i] = (T)values[i];
    cudaMemcpy(to, numbers.data(), numbers.size() * sizeof(T), cudaMemcpyHostToDevice);
}

template <typename T> static std::vector<float> fetch(const void *from, size_t count) {
    std::vector<T> numbers(count);
    std::vector<float> values(count);
    cudaMemcpy(numbers.data(), from, count * sizeof(T), cudaMemcpyDeviceToHost);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)numbers[i];
    return values;
}

template <typename T>
static struct results run(const struct attention_case *what, const struct card_batch *batch,
                          const std::vector<float> &qkv, const std::vector<float> &d_out) {
    size_t numbers = d_out.size(), per_head = (size_t)what->heads * (size_t)batch->max_rows;
    card_memory card_qkv(3 * numbers * sizeof(T)), card_d_out(numbers * sizeof(T));
    card_memory out(numbers * sizeof(T)), d_qkv(3 * numbers * sizeof(T));
    card_memory logsumexp(per_head * sizeof(float)), delta(per_head * sizeof(float));
    struct card_attention a = {};
    struct error err;
    a.tiles = batch->card.tiles, a.positions = batch->card.positions;
    a.lengths = batch->card.lengths;
    a.tile_count = batch->tile_count, a.rows = batch->rows, a.stride = batch->max_rows;
    a.heads = what->heads, a.d_model = what->d_model, a.unmasked = what->unmasked;
    a.dropout = card_batch_dropout(batch, 0, DROPOUT_ATTENTION);
    a.qkv = card_qkv.at, a.out = out.at, a.logsumexp = (float *)logsumexp.at;
    a.d_out = card_d_out.at, a.delta = (float *)delta.at, a.d_qkv = d_qkv.at;
    send<T>(card_qkv.at, qkv);
    send<T>(card_d_out.at, d_out);
    enum dtype dtype = sizeof(T) == sizeof(bf16) ? DTYPE_BF16 : DTYPE_F32;
    launch_attention(dtype, &a);
    launch_attention_gradient(dtype, &a);
    must(card_launched("attention", &err), &err);
    return {fetch<T>(out.at, numbers), fetch<float>(logsumexp.at, per_head),
            fetch<T>(d_qkv.at, 3 * numbers)};
}

/* Of the numbers that `counts` says yes to. */
template <typename F>
static double difference(const std::vector<float> &a, const std::vector<float> &b, F counts) {
    double squares = 0, size = 0;
    for (size_t i = 0; i < a.size(); i++)
        if (counts(i)) {
            squares += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
            size += (double)b[i] * (double)b[i];
        }
    return sqrt(squares) / (sqrt(size) + 1e-30);
}

/* Normal numbers that BF16 holds exactly. */
static std::vector<float> numbers(uint64_t key, size_t count) {
    std::vector<float> values(count);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)(bf16)(float)rng_normal(key, i);
    return values;
}

void device_turns_backwards(bool backwards) {
#ifdef __CUDACC__
    (void)backwards;
#else
    emulation_backwards = backwards;
#endif
}

struct attention_differences attention_check(const struct attention_case *what) {
    struct model_config config = {};
    std::vector<struct span> spans((size_t)what->spans);
    std::vector<struct dropout_row> at;
    struct card_batch card;
    struct error err;
    for (int s = 0; s < what->spans; s++) {
        spans[(size_t)s].rows = what->lengths[s];
        for (int row = 0; row < what->lengths[s]; row++)
            at.push_back({(uint32_t)s, (uint32_t)row});
    }
    std::vector<int32_t> ids(at.size());
    size_t rows = at.size(), d_model = (size_t)what->d_model;
    config.layers = config.vocab = 1, config.heads = what->heads;
    struct batch batch = {};
    batch.ids = ids.data(), batch.rows = (int)rows;
    batch.spans = spans.data(), batch.span_count = what->spans;
    batch.unmasked = what->unmasked;
    batch.dropout = {what->dropout, 99, at.data()};
    must(card_batch_create(&card, &config, (int)rows + 3, &err), &err);
    must(card_batch_fill(&card, &batch, ids.data(), &err), &err);
    std::vector<float> qkv = numbers(1, 3 * rows * d_model), d_out = numbers(2, rows * d_model);
    struct results low = run<bf16>(what, &card, qkv, d_out);
    struct results exact = run<float>(what, &card, qkv, d_out);
    auto part = [&](size_t which) {
        return difference(low.d_qkv, exact.d_qkv,
                          [&](size_t i) { return i / d_model % 3 == which; });
    };
    struct attention_differences differences = {
        difference(low.out, exact.out, [](size_t) { return true; }),
        difference(low.logsumexp, exact.logsumexp,
                   [&](size_t i) { return i % (rows + 3) < rows; }),
        part(0), part(1), part(2)};
    card_batch_destroy(&card);
    return differences;
}
