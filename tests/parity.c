/* parity [--device NAME [bf16]] FILE... - holds forward, backward and the optimizers against torch.
 *
 * Each FILE is a safetensors case made by the real torch.nn.TransformerEncoder:
 * weights.*, ids.<i>, logits.<i>, grads.*, adam3.* and adamw3.*, with the
 * dimensions and settings in its metadata. Prints the worst relative error of
 * each part beside its bound; exits 1 when any is over, 2 on a bad file.
 * With --device the device computes (train/device.h), in F32 or in BF16 with bounds to match, and
 * the loss speaks for its logits.
 */
#include "base/pool.h"
#include "model/blas.h"
#include "model/weights.h"
#include "train/device.h"
#include "train/grad/backward.h"
#include "train/grad/loss.h"
#include "train/optim/optimizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sequences {
    int count, rows;
    int32_t *ids, *targets; /* [rows]; target -1 after a sequence's last id */
    struct span *spans;     /* [count] */
    size_t target_count;
};

struct parity {
    const char *path;
    struct safetensors file;
    struct model_config config;
    struct model *model;
    struct pool *pool;
    struct sequences sequences;
    struct activations activations;
    struct forward_context context;
    struct backward_scratch backward;
    struct loss_scratch loss;
    float *gradients, *expected; /* [model_buffer_floats] */
    const struct device_kind *kind; /* NULL: the pool computes */
    struct device *device;          /* of the check that runs */
    enum dtype dtype;
    bool failed;
};

static void die(const char *path, const struct error *err) {
    fprintf(stderr, "parity: %s: %s\n", path, err->message);
    exit(2);
}

static void must(enum status status, const char *path, const struct error *err) {
    if (status != STATUS_OK)
        die(path, err);
}

static void *must_allocate(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory) {
        fprintf(stderr, "parity: out of memory\n");
        exit(2);
    }
    return memory;
}

static const char *setting(const struct parity *p, const char *key) {
    const char *text = safetensors_metadata(&p->file, key);
    if (!text) {
        fprintf(stderr, "parity: %s: no \"%s\" in the metadata\n", p->path, key);
        exit(2);
    }
    return text;
}

static int setting_int(const struct parity *p, const char *key) {
    return (int)strtol(setting(p, key), NULL, 10);
}

static float setting_real(const struct parity *p, const char *key) {
    return strtof(setting(p, key), NULL);
}

static void report(struct parity *p, const char *what, double error, double bound) {
    if (p->dtype == DTYPE_BF16)
        bound *= 150; /* the CPU's products in BF16 come to 9e-2 for the gradients of eight heads */
    bool ok = error <= bound; /* false for NaN */
    printf("  %-28s %.2e  (bound %.0e)%s\n", what, error, bound, ok ? "" : "  FAILED");
    p->failed = p->failed || !ok;
}

/* ||a - b|| / ||b|| */
static double relative_error(const float *a, const float *b, size_t count) {
    double difference = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        double d = (double)a[i] - (double)b[i];
        difference += d * d;
        size += (double)b[i] * (double)b[i];
    }
    return sqrt(difference) / (sqrt(size) + 1e-12);
}

/* ---- the case ------------------------------------------------------------- */

static void read_config(struct parity *p) {
    p->config = (struct model_config){
        .d_model = setting_int(p, "d_model"),
        .heads = setting_int(p, "n_heads"),
        .d_ff = setting_int(p, "d_ff"),
        .layers = setting_int(p, "n_layers"),
        .vocab = setting_int(p, "vocab_size"),
        .positions = setting_int(p, "max_len"),
        .norm_eps = setting_real(p, "layer_norm_eps"),
        .unk_id = -1, .bos_id = -1, .eos_id = -1, .pad_id = -1,
    };
}

static const struct safetensors_tensor *numbered(const struct parity *p, const char *kind, int i) {
    char name[32];
    snprintf(name, sizeof name, "%s.%d", kind, i);
    return safetensors_find(&p->file, name);
}

/* Ids are 32-bit or 64-bit integers, which a model's tensors never are. */
static int32_t id_at(const struct safetensors_tensor *tensor, size_t i) {
    int32_t id;
    if (tensor->bytes == tensor->count * sizeof(int64_t)) {
        int64_t wide;
        memcpy(&wide, tensor->data + i * sizeof wide, sizeof wide);
        return (int32_t)wide;
    }
    memcpy(&id, tensor->data + i * sizeof id, sizeof id);
    return id;
}

static void check_ids(const struct parity *p, const struct safetensors_tensor *ids) {
    bool ok = ids->dtype == SAFETENSORS_OTHER && ids->count > 0 &&
              ids->count <= (size_t)p->config.positions &&
              (ids->bytes == ids->count * sizeof(int32_t) ||
               ids->bytes == ids->count * sizeof(int64_t));
    for (size_t i = 0; ok && i < ids->count; i++)
        ok = id_at(ids, i) >= 0 && id_at(ids, i) < p->config.vocab;
    if (!ok) {
        fprintf(stderr, "parity: %s: %s is not a sequence of ids of this model\n", p->path,
                ids->name);
        exit(2);
    }
}

static void read_sequences(struct parity *p) {
    struct sequences *s = &p->sequences;
    const struct safetensors_tensor *ids;
    while ((ids = numbered(p, "ids", s->count))) {
        check_ids(p, ids);
        s->rows += (int)ids->count;
        s->count++;
    }
    if (s->count == 0) {
        fprintf(stderr, "parity: %s: no ids.0\n", p->path);
        exit(2);
    }
    s->ids = must_allocate((size_t)s->rows, sizeof *s->ids);
    s->targets = must_allocate((size_t)s->rows, sizeof *s->targets);
    s->spans = must_allocate((size_t)s->count, sizeof *s->spans);
    int row = 0;
    for (int i = 0; i < s->count; i++) {
        ids = numbered(p, "ids", i);
        s->spans[i] = (struct span){.rows = (int)ids->count};
        for (size_t j = 0; j < ids->count; j++, row++) {
            bool last = j + 1 == ids->count;
            s->ids[row] = id_at(ids, j);
            s->targets[row] = last ? -1 : id_at(ids, j + 1);
            s->target_count += !last;
        }
    }
}

static void open_case(struct parity *p) {
    struct error err;
    must(safetensors_open(&p->file, p->path, &err), p->path, &err);
    read_config(p);
    must(model_create(&p->model, &p->config, &err), p->path, &err);
    must(weights_read_buffer(&p->file, "weights.", &p->config, p->model->buffer, &err), p->path,
         &err);
    read_sequences(p);
    int workers = pool_workers(p->pool);
    p->context = (struct forward_context){p->model, p->pool, &p->activations};
    must(activations_create(&p->activations, &p->config, p->sequences.rows, true, workers, &err),
         p->path, &err);
    must(backward_scratch_create(&p->backward, &p->config, p->sequences.rows, workers, &err),
         p->path, &err);
    must(loss_scratch_create(&p->loss, &p->config, &err), p->path, &err);
    p->gradients = must_allocate(model_buffer_floats(&p->config), sizeof(float));
    p->expected = must_allocate(model_buffer_floats(&p->config), sizeof(float));
}

static void close_case(struct parity *p) {
    safetensors_close(&p->file);
    model_destroy(p->model);
    activations_destroy(&p->activations);
    backward_scratch_destroy(&p->backward);
    loss_scratch_destroy(&p->loss);
    free(p->sequences.ids);
    free(p->sequences.targets);
    free(p->sequences.spans);
    free(p->gradients);
    free(p->expected);
}

/* ---- the checks ----------------------------------------------------------- */

/* A device of its own for each check, with zeroed moments. */
static void open_device(struct parity *p, const struct optimizer_options *optimizer) {
    struct error err;
    struct device_options options = {.config = &p->config, .dtype = p->dtype,
                                     .max_rows = p->sequences.rows, .optimizer = optimizer};
    if (p->kind)
        must(p->kind->open(&p->device, &options, &err), p->path, &err);
}

static void close_device(struct parity *p) {
    if (p->device)
        p->kind->close(p->device);
    p->device = NULL;
}

static void send_parameters(struct parity *p) {
    struct error err;
    if (p->device)
        must(p->kind->send(p->device, DEVICE_PARAMETERS, p->model->buffer, &err), p->path, &err);
}

static double run_on_device(struct parity *p, const struct batch *batch,
                            const struct loss_targets *targets) {
    struct error err;
    double sum = 0, norm = 0;
    must(p->kind->clear(p->device, &err), p->path, &err);
    must(p->kind->add_gradients(p->device, batch, targets, &err), p->path, &err);
    must(p->kind->sums(p->device, &sum, &norm, &err), p->path, &err);
    must(p->kind->fetch(p->device, DEVICE_GRADIENTS, p->gradients, &err), p->path, &err);
    return sum;
}

static void run_forward(struct parity *p) {
    struct batch batch = {.ids = p->sequences.ids, .rows = p->sequences.rows,
                          .spans = p->sequences.spans, .span_count = p->sequences.count};
    forward(&p->context, &batch);
}

static double run_backward(struct parity *p) {
    struct sequences *s = &p->sequences;
    struct batch batch = {.ids = s->ids, .rows = s->rows, .spans = s->spans,
                          .span_count = s->count};
    struct parameters gradients;
    double weight = s->target_count ? 1.0 / (double)s->target_count : 0;
    struct loss_targets targets = {
        .ids = s->targets, .rows = (size_t)s->rows, .weight = (float)weight};
    if (p->device)
        return run_on_device(p, &batch, &targets) * weight;
    memset(p->gradients, 0, model_buffer_floats(&p->config) * sizeof(float));
    parameters_bind(&gradients, &p->config, p->gradients);
    run_forward(p);
    double sum = loss_and_gradient(&p->context, &targets, &p->loss, &gradients,
                                   p->backward.d_output);
    backward(&p->context, &batch, &p->backward, &gradients);
    return sum * weight;
}

static void check_logits(struct parity *p) {
    size_t vocab = (size_t)p->config.vocab;
    float *logits = must_allocate((size_t)p->sequences.rows * vocab, sizeof(float));
    float *expected = must_allocate((size_t)p->config.positions * vocab, sizeof(float));
    double worst = 0;
    run_forward(p);
    forward_logits_range(&p->context, 0, p->sequences.rows, logits);
    size_t row = 0;
    for (int i = 0; i < p->sequences.count; i++) {
        const struct safetensors_tensor *tensor = numbered(p, "logits", i);
        size_t rows = (size_t)p->sequences.spans[i].rows;
        struct error err = {.message = "logits.<i> missing or of another shape than ids.<i>"};
        if (!tensor || tensor->count != rows * vocab)
            die(p->path, &err);
        must(safetensors_copy_f32(tensor, expected, &err), p->path, &err);
        worst = fmax(worst, relative_error(logits + row * vocab, expected, rows * vocab));
        row += rows;
    }
    free(logits);
    free(expected);
    report(p, "logits", worst, 1e-4);
}

/* The worst tensor of `values` against the file's PREFIX tensors. In BF16 it is all of them
 * together, since some are small differences of large numbers. */
static double worst_tensor(struct parity *p, const char *prefix, const float *values) {
    struct error err;
    must(weights_read_buffer(&p->file, prefix, &p->config, p->expected, &err), p->path, &err);
    double worst = 0;
    if (p->dtype == DTYPE_BF16)
        return relative_error(values, p->expected, model_buffer_floats(&p->config));
    for (int i = 0; i < model_tensor_count(&p->config); i++) {
        struct tensor_info info;
        model_tensor(&p->config, i, &info);
        double error = relative_error(values + info.offset, p->expected + info.offset, info.count);
        if (!(error <= worst))
            worst = error;
    }
    return worst;
}

static void fetch_parameters(struct parity *p) {
    struct error err;
    if (p->device)
        must(p->kind->fetch(p->device, DEVICE_PARAMETERS, p->model->buffer, &err), p->path, &err);
}

/* torch's AdamW decays biases and norms too. */
static void decay_others(struct parity *p, float kept) {
    fetch_parameters(p);
    for (int i = 0; i < model_tensor_count(&p->config); i++) {
        struct tensor_info info;
        model_tensor(&p->config, i, &info);
        for (size_t at = info.offset; at < info.offset + info.count && !info.decays; at++)
            p->model->buffer[at] *= kept;
    }
    send_parameters(p);
}

static void check_steps(struct parity *p, const char *what, const char *prefix,
                        enum optimizer_kind kind, float weight_decay) {
    struct error err;
    char *rest;
    float beta1 = strtof(setting(p, "betas"), &rest);
    struct optimizer_options options = {.kind = kind,
                                        .beta1 = beta1,
                                        .beta2 = strtof(rest + (*rest == ','), NULL),
                                        .eps = setting_real(p, "eps")};
    struct optimizer optimizer;
    must(optimizer_create(&optimizer, &options, DTYPE_F32, &p->config, pool_workers(p->pool), &err),
         p->path, &err);
    must(weights_read_buffer(&p->file, "weights.", &p->config, p->model->buffer, &err), p->path,
         &err);
    float rate = setting_real(p, "lr");
    struct learning_rates rates = {rate, rate, weight_decay};
    open_device(p, &options);
    send_parameters(p);
    for (int step = 0; step < 3; step++) {
        run_backward(p);
        decay_others(p, 1 - rate * weight_decay);
        struct device_update update = {rates, 1, (uint64_t)step + 1, 0};
        if (p->device)
            must(p->kind->update(p->device, &update, &err), p->path, &err);
        else
            optimizer_step(&optimizer, p->pool, p->model->buffer, p->gradients, 1, rates);
    }
    fetch_parameters(p);
    close_device(p);
    report(p, what, worst_tensor(p, prefix, p->model->buffer), 1e-3);
    optimizer_destroy(&optimizer);
}

static bool check_file(const char *path, struct pool *pool, const struct device_kind *kind,
                       enum dtype dtype) {
    struct parity p = {.path = path, .pool = pool, .kind = kind, .dtype = dtype};
    const struct optimizer_options any = {.kind = OPTIMIZER_ADAM};
    open_case(&p);
    printf("%s: %d layers, %d heads, d_model %d, %d sequences\n", path, p.config.layers,
           p.config.heads, p.config.d_model, p.sequences.count);
    if (!kind)
        check_logits(&p);
    open_device(&p, &any);
    send_parameters(&p);
    double expected_loss = strtod(setting(&p, "loss"), NULL), loss = run_backward(&p);
    report(&p, "loss", fabs(loss - expected_loss) / fabs(expected_loss), 1e-4);
    report(&p, "gradients, worst tensor", worst_tensor(&p, "grads.", p.gradients), 1e-3);
    close_device(&p);
    check_steps(&p, "three Adam steps", "adam3.", OPTIMIZER_ADAM, 0);
    check_steps(&p, "three AdamW steps", "adamw3.", OPTIMIZER_ADAMW,
                setting_real(&p, "adamw_weight_decay"));
    close_case(&p);
    return !p.failed;
}

int main(int argc, char **argv) {
    blas_init(argv);
    struct error err;
    struct pool *pool;
    const struct device_kind *kind = NULL;
    enum dtype dtype = DTYPE_F32;
    if (argc > 2 && strcmp(argv[1], "--device") == 0) {
        must(device_find(argv[2], &kind, &err), argv[1], &err);
        argc -= 2;
        argv += 2;
        if (argc > 1 && dtype_parse(argv[1], &dtype)) {
            argc--;
            argv++;
        }
    }
    if (argc < 2) {
        fprintf(stderr, "Usage: parity [--device NAME [bf16]] FILE.safetensors...\n");
        return 2;
    }
    must(pool_create(&pool, 0, &err), "worker pool", &err);
    int failed = 0;
    for (int i = 1; i < argc; i++)
        failed += !check_file(argv[i], pool, kind, dtype);
    pool_destroy(pool);
    printf("%d passed, %d failed\n", argc - 1 - failed, failed);
    return failed ? 1 : 0;
}
