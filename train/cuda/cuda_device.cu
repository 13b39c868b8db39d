extern "C" {
#include "train/cuda/cuda_device.h"
}
#include "train/cuda/card_optimizer.h"
#include "train/cuda/network.h"
#include "train/cuda/row_kernels.h"

extern "C" {
#include "train/grad/teacher.h"
}

#include <math.h>
#include <stdlib.h>

enum { LOSS_ROWS = 16384 }; /* whose logits are held at a time */

/* What a step comes to, on the card and, once it is asked for, on the CPU. */
struct totals {
    double loss, squares;
};

struct cuda_device {
    struct device base; /* first, so that a device is one of these */
    struct model_config config;
    enum dtype dtype;
    bool trains;
    struct products *products;
    struct part_timer timer;
    struct card_batch batch;
    struct network network, teachers[TEACHER_MAX_MODELS];
    int teacher_count;
    struct network_gradient gradient;
    struct card_optimizer optimizer;
    /* of a chunk of rows: */
    float *logits, *teacher_logits, *soft; /* [LOSS_ROWS, vocab]; the last two from the first
                                            * teacher on */
    void *d_logits;                        /* the same in BF16; in F32 it is `logits` */
    float *row_losses;                     /* [LOSS_ROWS] */
    struct totals *totals;
    struct arena arena, teacher_arena;
};

static struct cuda_device *cuda(struct device *device) {
    return (struct cuda_device *)device;
}

/* ---- opening -------------------------------------------------------------- */

static int loss_rows(const struct cuda_device *d) {
    return d->base.max_rows < LOSS_ROWS ? d->base.max_rows : LOSS_ROWS;
}

static size_t chunk_logits(const struct cuda_device *d) {
    return (size_t)loss_rows(d) * (size_t)d->config.vocab;
}

static void layout(void *context, struct arena *arena) {
    struct cuda_device *d = (struct cuda_device *)context;
    d->logits = (float *)arena_take(arena, chunk_logits(d), sizeof(float));
    d->d_logits = d->logits;
    if (d->dtype == DTYPE_BF16)
        d->d_logits = arena_take(arena, chunk_logits(d), sizeof(bf16));
    d->row_losses = (float *)arena_take(arena, (size_t)loss_rows(d), sizeof(float));
    d->totals = (struct totals *)arena_take(arena, 1, sizeof *d->totals);
    if (d->trains)
        network_gradient_layout(&d->gradient, &d->network.options, arena);
}

static void layout_teachers(void *context, struct arena *arena) {
    struct cuda_device *d = (struct cuda_device *)context;
    d->teacher_logits = (float *)arena_take(arena, chunk_logits(d), sizeof(float));
    d->soft = (float *)arena_take(arena, chunk_logits(d), sizeof(float));
}

static void forget_teachers(struct cuda_device *d) {
    for (int i = 0; i < d->teacher_count; i++)
        network_destroy(&d->teachers[i]);
    d->teacher_count = 0;
    card_arena_destroy(&d->teacher_arena);
}

static void close_device(struct device *device) {
    struct cuda_device *d = cuda(device);
    if (!d)
        return;
    (void)cudaDeviceSynchronize();
    forget_teachers(d);
    card_optimizer_destroy(&d->optimizer);
    network_destroy(&d->network);
    card_batch_destroy(&d->batch);
    card_arena_destroy(&d->arena);
    part_timer_close(&d->timer);
    products_close(d->products);
    free(d);
}

static enum status build(struct cuda_device *d, const struct device_options *o,
                         struct error *err) {
    struct network_options network = {&d->config, o->dtype, o->max_rows, d->trains, NULL,
                                      &d->timer};
    if (o->dtype == DTYPE_INT8)
        return error_set_field(err, STATUS_UNSUPPORTED, "numeric",
                               "--device cuda computes in bf16 or f32; int8 is the CPU's");
    TRY(products_open(&d->products, err));
    network.products = d->products;
    TRY(network_create(&d->network, &network, err));
    TRY(card_batch_create(&d->batch, &d->config, o->max_rows, err));
    if (d->trains)
        TRY(card_optimizer_create(&d->optimizer, o, err));
    TRY(card_arena_build(&d->arena, layout, d, err));
    if (d->trains)
        parameters_bind(&d->gradient.at, &d->config, d->gradient.gradients);
    return card_status(cudaDeviceSynchronize(), "start", err);
}

static enum status open_device(struct device **out, const struct device_options *o,
                               struct error *err) {
    int cards = 0;
    *out = NULL;
    cudaError_t error = cudaGetDeviceCount(&cards);
    if (error != cudaSuccess || cards == 0)
        return error_set_field(err, STATUS_UNSUPPORTED, "device", "--device cuda finds no card: %s",
                               cudaGetErrorString(error ? error : cudaErrorNoDevice));
    struct cuda_device *d = (struct cuda_device *)calloc(1, sizeof *d);
    if (!d)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the device");
    d->base.kind = &cuda_device;
    d->base.max_rows = o->max_rows;
    d->config = *o->config;
    d->dtype = o->dtype;
    d->trains = o->optimizer != NULL;
    enum status status = build(d, o, err);
    if (status != STATUS_OK)
        close_device(&d->base);
    else
        *out = &d->base;
    return status;
}

/* ---- buffers -------------------------------------------------------------- */

static float *buffer_of(struct cuda_device *d, enum device_buffer buffer) {
    switch (buffer) {
    case DEVICE_PARAMETERS: return d->network.parameters;
    case DEVICE_MOMENT1: return d->optimizer.moment1;
    case DEVICE_MOMENT2: return d->optimizer.moment2;
    case DEVICE_AVERAGE: return d->optimizer.average;
    case DEVICE_GRADIENTS: return d->gradient.gradients;
    case DEVICE_BUFFERS: break;
    }
    return NULL;
}

static size_t buffer_bytes(const struct cuda_device *d) {
    return model_buffer_floats(&d->config) * sizeof(float);
}

static enum status send(struct device *device, enum device_buffer buffer, const float *values,
                        struct error *err) {
    struct cuda_device *d = cuda(device);
    TRY(card_status(cudaMemcpy(buffer_of(d, buffer), values, buffer_bytes(d),
                               cudaMemcpyHostToDevice), "copying to the card", err));
    return buffer == DEVICE_PARAMETERS ? network_refresh(&d->network, err) : STATUS_OK;
}

static enum status fetch(struct device *device, enum device_buffer buffer, float *values,
                         struct error *err) {
    struct cuda_device *d = cuda(device);
    return card_status(cudaMemcpy(values, buffer_of(d, buffer), buffer_bytes(d),
                                  cudaMemcpyDeviceToHost), "copying from the card", err);
}

static void swap_average(struct device *device) {
    struct cuda_device *d = cuda(device);
    float *parameters = d->network.parameters;
    d->network.parameters = d->optimizer.average;
    d->optimizer.average = parameters;
    (void)network_refresh(&d->network, NULL); /* what fails says so again in the next call */
}

static enum status set_teachers(struct device *device, const struct model *const *models,
                                int count, struct error *err) {
    struct cuda_device *d = cuda(device);
    forget_teachers(d);
    if (count > 0)
        TRY(card_arena_build(&d->teacher_arena, layout_teachers, d, err));
    for (int i = 0; i < count; i++) {
        struct network_options options = d->network.options;
        options.config = &models[i]->config;
        options.keeps_layers = false;
        struct network *teacher = &d->teachers[d->teacher_count++];
        TRY(network_create(teacher, &options, err));
        size_t bytes = model_buffer_floats(options.config) * sizeof(float);
        TRY(card_status(cudaMemcpy(teacher->parameters, models[i]->buffer, bytes,
                                   cudaMemcpyHostToDevice), "copying a teacher", err));
        TRY(network_refresh(teacher, err));
    }
    return STATUS_OK;
}

/* ---- a step --------------------------------------------------------------- */

static enum status clear(struct device *device, struct error *err) {
    struct cuda_device *d = cuda(device);
    TRY(card_status(cudaMemsetAsync(d->gradient.gradients, 0, buffer_bytes(d), CARD_STREAM),
                    "clearing", err));
    return card_status(cudaMemsetAsync(d->totals, 0, sizeof *d->totals, CARD_STREAM), "clearing",
                       err);
}

/* The teachers' mean prediction for a chunk of rows. */
static enum status predict(struct cuda_device *d, int first, int count, struct error *err) {
    for (int i = 0; i < d->teacher_count; i++) {
        TRY(network_logits(&d->teachers[i], first, count, d->teacher_logits, err));
        launch_teacher(d->teacher_logits, d->soft, count, d->config.vocab,
                       1.0f / (float)d->teacher_count, i > 0);
    }
    return STATUS_OK;
}

/* Adds the batch's losses, and with `gradient` the head's gradients, and writes those of the
 * encoder's output. */
static enum status add_loss(struct cuda_device *d, const struct loss_targets *targets,
                            struct network_gradient *gradient, struct error *err) {
    bool taught = gradient && targets->distillation.teacher;
    part_mark(&d->timer, DEVICE_LOSS);
    for (int first = 0; first < d->batch.rows; first += loss_rows(d)) {
        int left = d->batch.rows - first, count = left < loss_rows(d) ? left : loss_rows(d);
        struct loss_pass pass = {
            d->logits, d->batch.card.targets + first, count, d->config.vocab,
            {targets->weight, taught ? targets->distillation.weight : 0}, taught ? d->soft : NULL,
            d->row_losses, &d->totals->loss, gradient ? d->d_logits : NULL};
        if (taught)
            TRY(predict(d, first, count, err));
        TRY(network_logits(&d->network, first, count, d->logits, err));
        launch_loss(d->dtype, &pass);
        if (gradient)
            TRY(network_head_backward(&d->network, gradient, first, count, d->d_logits, err));
    }
    return card_launched("the loss", err);
}

static enum status add_gradients(struct device *device, const struct batch *batch,
                                 const struct loss_targets *targets, struct error *err) {
    struct cuda_device *d = cuda(device);
    TRY(card_batch_fill(&d->batch, batch, targets->ids, err));
    struct card_batch plain = d->batch;
    plain.dropout = 0;
    for (int i = 0; i < d->teacher_count && targets->distillation.teacher; i++)
        TRY(network_forward(&d->teachers[i], &plain, err));
    TRY(network_forward(&d->network, &d->batch, err));
    TRY(add_loss(d, targets, &d->gradient, err));
    TRY(network_backward(&d->network, &d->batch, &d->gradient, err));
    part_mark(&d->timer, DEVICE_PARTS);
    return STATUS_OK;
}

static enum status fetch_totals(struct cuda_device *d, struct totals *totals, struct error *err) {
    return card_status(cudaMemcpy(totals, d->totals, sizeof *totals, cudaMemcpyDeviceToHost),
                       "a step", err);
}

static enum status sums(struct device *device, double *loss, double *norm, struct error *err) {
    struct cuda_device *d = cuda(device);
    struct totals totals;
    part_mark(&d->timer, DEVICE_UPDATE);
    card_optimizer_squares(&d->optimizer, d->gradient.gradients, &d->totals->squares);
    part_mark(&d->timer, DEVICE_PARTS);
    TRY(card_launched("the gradient's norm", err));
    TRY(fetch_totals(d, &totals, err));
    *loss = totals.loss;
    *norm = sqrt(totals.squares);
    return STATUS_OK;
}

static enum status update(struct device *device, const struct device_update *update,
                          struct error *err) {
    struct cuda_device *d = cuda(device);
    return card_optimizer_step(&d->optimizer, &d->network, d->gradient.gradients, update, err);
}

static enum status wait(struct device *device, struct error *err) {
    (void)device;
    return card_status(cudaStreamSynchronize(CARD_STREAM), "a step", err);
}

static enum status loss(struct device *device, const struct batch *batch,
                        const struct loss_targets *targets, double *loss, struct error *err) {
    struct cuda_device *d = cuda(device);
    struct totals totals;
    TRY(card_status(cudaMemsetAsync(d->totals, 0, sizeof *d->totals, CARD_STREAM), "clearing",
                    err));
    TRY(card_batch_fill(&d->batch, batch, targets->ids, err));
    TRY(network_forward(&d->network, &d->batch, err));
    TRY(add_loss(d, targets, NULL, err));
    TRY(fetch_totals(d, &totals, err));
    *loss = totals.loss;
    return STATUS_OK;
}

static enum status time_parts(struct device *device, double *seconds, struct error *err) {
    return part_seconds(&cuda(device)->timer, seconds, err);
}

extern "C" const struct device_kind cuda_device = {
    "cuda",  65536, open_device, close_device,  send, fetch,  swap_average, set_teachers,
    clear,   add_gradients,      sums,          update, wait, loss,         time_parts};
