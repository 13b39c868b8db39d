/* device.h - a trainer's numbers and arithmetic on a device with memory of its own.
 *
 * The trainer (trainer.h) cuts batches, checks what is finite and decides on clipping; a device
 * does for it what the pool and the buffers of the CPU do else. Parameters, gradients, moments,
 * average and teachers stay on it, and come to the CPU only where they are asked for.
 * Ownership: the opener closes a device; it keeps nothing of what it is given but copies.
 * One thread uses it at a time.
 */
#ifndef ALPACA_TRAIN_DEVICE_H
#define ALPACA_TRAIN_DEVICE_H

#include "base/status.h"
#include "model/batch.h"
#include "train/grad/loss.h"
#include "train/optim/optimizer.h"

/* Buffers of the model's layout (model/model.h). */
enum device_buffer {
    DEVICE_PARAMETERS,
    DEVICE_MOMENT1,
    DEVICE_MOMENT2,
    DEVICE_AVERAGE,
    DEVICE_GRADIENTS,
    DEVICE_BUFFERS
};

/* What a step's time goes to. */
enum device_part { DEVICE_PRODUCTS, DEVICE_ATTENTION, DEVICE_ROWS, DEVICE_LOSS, DEVICE_UPDATE,
                   DEVICE_PARTS };

struct device_options {
    const struct model_config *config;
    enum dtype dtype; /* of products and of what they read: F32 or BF16 */
    int max_rows;     /* of a batch */
    const struct optimizer_options *optimizer; /* NULL: the device only evaluates */
    bool average;                              /* keep a running average */
};

struct device_update {
    struct learning_rates rates;
    float gradient_scale;
    uint64_t steps;      /* counts from 1 */
    float average_share; /* 0: the average stays as it is */
};

struct device_kind;
struct device {
    const struct device_kind *kind;
    int max_rows;
};

/* All that can fail says STATUS_IO for a device that failed, which it then keeps saying. */
struct device_kind {
    const char *name;
    int micro_rows; /* rows that keep the device busy */
    /* STATUS_UNSUPPORTED for a model or a dtype that the device cannot run, STATUS_NO_MEMORY when
     * its memory is too small. All buffers are zero. */
    enum status (*open)(struct device **device, const struct device_options *options,
                        struct error *err);
    void (*close)(struct device *device);
    enum status (*send)(struct device *device, enum device_buffer buffer, const float *values,
                        struct error *err);
    enum status (*fetch)(struct device *device, enum device_buffer buffer, float *values,
                         struct error *err);
    void (*swap_average)(struct device *device);
    /* Copies the teachers that loss_targets.distillation means from then on. */
    enum status (*set_teachers)(struct device *device, const struct model *const *models,
                                int count, struct error *err);

    /* A step: gradients, loss and norm from zero, batch by batch, and the new parameters. */
    enum status (*clear)(struct device *device, struct error *err);
    enum status (*add_gradients)(struct device *device, const struct batch *batch,
                                 const struct loss_targets *targets, struct error *err);
    /* The sum of all rows' losses since clear(), and the gradients' Euclidean norm. */
    enum status (*sums)(struct device *device, double *loss, double *norm, struct error *err);
    enum status (*update)(struct device *device, const struct device_update *update,
                          struct error *err);
    /* Waits for what was begun. */
    enum status (*wait)(struct device *device, struct error *err);

    /* The sum of the rows' losses, without gradients. */
    enum status (*loss)(struct device *device, const struct batch *batch,
                        const struct loss_targets *targets, double *loss, struct error *err);
    /* Seconds spent in each part since the call before, which began to measure. */
    enum status (*time_parts)(struct device *device, double seconds[DEVICE_PARTS],
                              struct error *err);
};

/* Finds a kind by the name that --device gives; "cpu" and NULL are *kind NULL. STATUS_INVALID for
 * another name. */
enum status device_find(const char *name, const struct device_kind **kind, struct error *err);

/* The option, in builds that have a device. */
#ifdef ALPACA_CUDA
#define DEVICE_NAMES "cpu or cuda"
#define DEVICE_FLAG(offset)                                                                     \
    {"device", FLAG_TEXT, (offset), "cpu", 0, 0, "NAME", "what computes: " DEVICE_NAMES},
#define DEVICE_MICRO_ROWS "; 65536 with --device cuda"
#else
#define DEVICE_NAMES "cpu"
#define DEVICE_FLAG(offset)
#define DEVICE_MICRO_ROWS ""
#endif

#endif
