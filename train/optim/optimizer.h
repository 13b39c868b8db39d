/* optimizer.h - one step from gradients to parameters.
 *
 *   adam   Kingma & Ba 2014; torch.optim.Adam with weight_decay 0
 *   adamw  Loshchilov & Hutter 2017; decay decoupled from the gradient
 *   muon   Jordan et al. 2024: for every matrix inside a layer, Nesterov momentum
 *          orthogonalized by five Newton-Schulz iterations (q, k and v apart);
 *          all other tensors by AdamW with its own learning rate
 *
 * The moments are two buffers of the parameters' layout; a checkpoint stores
 * them and `steps`, which is all the state there is.
 * Ownership: the optimizer owns its arena. Uses the pool: one caller at a time.
 */
#ifndef ALPACA_TRAIN_OPTIM_OPTIMIZER_H
#define ALPACA_TRAIN_OPTIM_OPTIMIZER_H

#include "base/arena.h"
#include "base/status.h"
#include "model/model.h"
#include "train/optim/element.h"

struct pool;

enum optimizer_kind { OPTIMIZER_ADAM, OPTIMIZER_ADAMW, OPTIMIZER_MUON };

struct optimizer_options {
    enum optimizer_kind kind;
    float beta1, beta2, eps;
    float momentum; /* muon's */
    /* Of several processes: how muon's matrices are divided among them (muon.h), and which part
     * this one has; NULL when it is alone. The bounds stay the caller's. */
    const size_t *bounds;
    int part;
};

struct optimizer {
    struct optimizer_options options;
    enum dtype dtype; /* of muon's products */
    struct model_config config;
    int workers;    /* of the pool that the steps run on */
    uint64_t steps; /* taken so far */
    float *moment1; /* [model_buffer_floats] mean gradient, or muon's momentum */
    float *moment2; /* [model_buffer_floats] mean squared gradient */
    float *scratch; /* muon's matrices */
    struct arena arena;
};

/* "adam", "adamw", "muon"; false for another name. */
bool optimizer_kind_parse(const char *name, enum optimizer_kind *kind);

/* dtype: of muon's products, F32 or, where bf16_available(), BF16. `workers`: of the pool that
 * the steps will run on. */
enum status optimizer_create(struct optimizer *optimizer, const struct optimizer_options *options,
                             enum dtype dtype, const struct model_config *config, int workers,
                             struct error *err);
void optimizer_destroy(struct optimizer *optimizer);

/* What a schedule sets for one step: the learning rates of muon's matrices and of everything by
 * Adam, and the decay, which the rates multiply (not used by adam). */
struct learning_rates {
    float matrices, others;
    float weight_decay;
};

/* What Adam's step, counted from 1, does to every number that does not decay; where it does, `kept`
 * is 1 - rate * decay. */
struct adam_step adam_step_at(const struct optimizer_options *options, float rate,
                              float gradient_scale, uint64_t steps);

/* parameters[model_buffer_floats] -= update(gradients * gradient_scale), but for muon's matrices
 * of other parts. */
void optimizer_step(struct optimizer *optimizer, struct pool *pool, float *parameters,
                    const float *gradients, float gradient_scale, struct learning_rates rates);

/* The Euclidean norm of gradients[count]; the same for any run with as many workers. */
double gradient_norm(struct pool *pool, const float *gradients, size_t count);

#endif
