#include "train/fit_options.h"

#include "base/cpu.h"
#include "model/kernels/bf16.h"
#include "train/ranks.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define AT(member) offsetof(struct fit_options, member)

static const struct flag flags[] = {
    {"preset", FLAG_TEXT, AT(preset), "mini", 0, 0, "NAME", "the model: small, mini or alpaca"},
    {"layers", FLAG_INT, AT(layers), "0", 0, MODEL_MAX_LAYERS, "",
     "of the model, to be grown later (`alpaca-train grow`); 0 for the preset's"},
    {"train", FLAG_TEXT, AT(train), NULL, 0, 0, "FILE",
     "stories to learn (default build/data/train.txt)"},
    {"mix", FLAG_TEXT, AT(mix), NULL, 0, 0, "FILE:SHARE:UNTIL",
     "other stories to mix in: SHARE of each step's tokens, 0 to 1, comes from FILE until UNTIL of "
     "the steps, 0 to 1, are done"},
    {"valid", FLAG_TEXT, AT(valid), NULL, 0, 0, "FILE",
     "stories to validate with (default build/data/valid.txt); others are refused once a run has "
     "validated"},
    {"tokenizer", FLAG_TEXT, AT(tokenizer), NULL, 0, 0, "FILE",
     "SentencePiece model (default build/data/tokenizer.model)"},
    {"out", FLAG_TEXT, AT(out), NULL, 0, 0, "DIR",
     "model folder for the best weights (default build/models/PRESET); a run that goes on with "
     "another one copies those it has"},
    {"run", FLAG_TEXT, AT(run), NULL, 0, 0, "DIR",
     "folder of checkpoint and log (default build/runs/PRESET)"},
    {"dtype", FLAG_TEXT, AT(saved_dtype), "bf16", 0, 0, "TYPE",
     "of the written weights: bf16 or f32"},

    {"optimizer", FLAG_TEXT, AT(optimizer), "muon", 0, 0, "NAME", "adam, adamw or muon"},
    {"lr", FLAG_REAL, AT(rate), "0", 0, 10, "",
     "peak learning rate; 0 for 0.02 with muon, else for the preset's, 5e-4 for small and mini, "
     "3e-4 for alpaca"},
    {"adam-lr", FLAG_REAL, AT(others_rate), "0.004", 0, 10, "",
     "with muon: peak learning rate of what Adam updates"},
    {"weight-decay", FLAG_REAL, AT(weight_decay), "0.1", 0, 100, "",
     "of matrices, with adamw and muon; the learning rate multiplies it"},
    {"clip", FLAG_REAL, AT(clip), "1", 0, 1e6, "", "gradient norm at most; 0 for no clipping"},
    {"dropout", FLAG_REAL, AT(dropout), "0.1", 0, 0.9, "", "share of values dropped in training"},
    {"crop", FLAG_REAL, AT(random_crop), "0.5", 0, 1, "",
     "share of the stories that begin at a random place, another one every epoch; with it the rest "
     "of stories longer than the model's positions is learned too"},
    {"schedule", FLAG_TEXT, AT(shape), "linear", 0, 0, "SHAPE",
     "of the learning rate after the warm-up: cosine or linear"},
    {"warmup", FLAG_REAL, AT(warmup), "60", 0, 1e9, "",
     "linear warm-up: steps, or below 1 a fraction of all steps"},
    {"final-lr", FLAG_REAL, AT(final_rate), "0", 0, 1, "",
     "share of the peak learning rate that is left at the end"},
    {"average", FLAG_TEXT, AT(average), "ema", 0, 0, "KIND",
     "of the weights over the steps: none or ema (exponential); kept when it validates better"},
    {"average-decay", FLAG_REAL, AT(average_decay), "0.996", 0, 0.999999, "",
     "of the average, per step"},
    {"average-from", FLAG_REAL, AT(average_from), "0.3", 0, 1, "",
     "share of all steps after which an average begins"},
    {"teacher", FLAG_TEXT, AT(teacher), NULL, 0, 0, "DIRS",
     "model folders, with commas between, whose mean prediction is part of the target"},
    {"teacher-weight", FLAG_REAL, AT(teacher_weight), "0.8", 0, 1, "", "that part"},
    {"start", FLAG_TEXT, AT(start), NULL, 0, 0, "DIR",
     "model folder with the weights to start from; random ones without it"},
    {"epochs", FLAG_REAL, AT(epochs), "10", 0.001, 1e6, "", "how often to see the stories"},
    {"steps", FLAG_U64, AT(steps), "0", 0, 1e12, "", "steps in all; 0 for what the epochs give"},
    {"batch-stories", FLAG_INT, AT(batch_stories), "0", 0, 1e6, "stories",
     "per step at most; 0 for as many as --batch-tokens gives"},
    {"batch-tokens", FLAG_INT, AT(batch_tokens), "0", 0, 1e8, "tokens",
     "per step at most, in whole stories; 0 for 9700, or with --batch-stories for any number"},
    {"seed", FLAG_U64, AT(seed), "1", 0, 1e15, "", "of weights, order of stories and dropout"},

    DEVICE_FLAG(AT(device))
    {"micro-tokens", FLAG_INT, AT(micro_tokens), "0", 0, 1e7, "tokens",
     "rows computed at a time; bounds the memory; 0 for 2048, or 256 for each thread where that is "
     "more" DEVICE_MICRO_ROWS},
    {"numeric", FLAG_TEXT, AT(dtype), "auto", 0, 0, "FORM",
     "of the matrix products: bf16, int8 (all but the gradients of the weights), f32, or auto for "
     "the checkpoint's or else the faster of bf16 and f32, which is measured; a run repeats bit "
     "for bit in a form that is named"},
    {"threads", FLAG_INT, AT(threads), "0", 0, 64, "", "compute threads; 0 for all cores"},
    {"log-every", FLAG_INT, AT(log_every), "10", 1, 1e6, "steps", "between lines of the log"},
    {"valid-every", FLAG_INT, AT(valid_every), "200", 1, 1e9, "steps", "between validations"},
    {"checkpoint-every", FLAG_INT, AT(checkpoint_seconds), "60", 0, 1e6, "seconds",
     "between checkpoints; 0 for one at every step"},
    {"fresh", FLAG_SWITCH, AT(fresh), NULL, 0, 0, "", "start over, whatever checkpoint there is"},
};

const struct flag_table fit_flags = {
    .usage = "alpaca-train fit [options]",
    .summary = "Trains a model and keeps the weights with the best validation loss. The defaults\n"
               "are the best recipe known for a few million tokens of stories (docs/training.md).\n"
               "A run that was interrupted goes on from its last checkpoint when the same command\n"
               "is given again; where it cannot go on with the settings or stories given, it says\n"
               "which differ.",
    .flags = flags,
    .count = sizeof flags / sizeof *flags,
};

static enum status one_of(const char *flag, const char *choices, const char *value,
                          struct error *err) {
    return error_set_field(err, STATUS_INVALID, flag, "--%s must be %s, not \"%s\"", flag, choices,
                           value);
}

/* Many threads need many rows: they share out pieces of twelve, and wait for each other after every
 * layer (docs/training.md). */
static int enough_rows(int threads) {
    enum { FOR_FEW_THREADS = 2048, FOR_A_THREAD = 256 };
    int workers = threads ? threads : cpu_count();
    return workers * FOR_A_THREAD > FOR_FEW_THREADS ? workers * FOR_A_THREAD : FOR_FEW_THREADS;
}

/* The number behind the last colon of `text`, which is cut there; false when there is none from 0
 * to 1. */
static bool take_share(char *text, double *share) {
    char *colon = strrchr(text, ':'), *end;
    if (!colon || !colon[1])
        return false;
    *share = strtod(colon + 1, &end);
    *colon = '\0';
    return *end == '\0' && *share >= 0 && *share <= 1;
}

static enum status parse_mix(const char *text, struct mix *mix, struct error *err) {
    if (strlen(text) < sizeof mix->path) {
        strcpy(mix->path, text);
        if (take_share(mix->path, &mix->until) && take_share(mix->path, &mix->share) &&
            mix->path[0])
            return STATUS_OK;
    }
    return one_of("mix", "FILE:SHARE:UNTIL, with SHARE and UNTIL from 0 to 1", text, err);
}

enum status fit_options_complete(struct fit_options *o, struct fit_plan *plan,
                                 struct error *err) {
    *plan = (struct fit_plan){0};
    const struct model_config *config = model_preset(o->preset);
    if (!config)
        return one_of("preset", "small, mini or alpaca", o->preset, err);
    plan->config = *config;
    if (o->layers)
        plan->config.layers = o->layers;
    plan->trainer.optimizer = (struct optimizer_options){
        .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .momentum = 0.95f};
    if (!optimizer_kind_parse(o->optimizer, &plan->trainer.optimizer.kind))
        return one_of("optimizer", "adam, adamw or muon", o->optimizer, err);
    if (!schedule_shape_parse(o->shape, &plan->shape))
        return one_of("schedule", "cosine or linear", o->shape, err);
    plan->trainer.average = strcmp(o->average, "ema") == 0;
    if (!plan->trainer.average && strcmp(o->average, "none") != 0)
        return one_of("average", "none or ema", o->average, err);
    plan->float32 = strcmp(o->saved_dtype, "f32") == 0;
    if (!plan->float32 && strcmp(o->saved_dtype, "bf16") != 0)
        return one_of("dtype", "bf16 or f32", o->saved_dtype, err);

    enum status status = o->mix ? parse_mix(o->mix, &plan->mix, err) : STATUS_OK;
    if (status == STATUS_OK)
        status = device_find(o->device, &plan->trainer.device, err);
    if (status != STATUS_OK)
        return status;
    bool bf16 = plan->trainer.device || bf16_available();
    plan->measure = strcmp(o->dtype, "auto") == 0;
    if (!plan->measure && !dtype_parse(o->dtype, &plan->trainer.dtype))
        return one_of("numeric", "bf16, int8, f32 or auto", o->dtype, err);
    if (plan->trainer.dtype != DTYPE_F32 && !bf16)
        return error_set_field(err, STATUS_UNSUPPORTED, "numeric",
                               "this CPU has no BF16 products (avx512_bf16); give --numeric f32");

    bool large = strcmp(o->preset, "alpaca") == 0;
    bool muon = plan->trainer.optimizer.kind == OPTIMIZER_MUON;
    if (o->rate <= 0)
        o->rate = muon ? 0.02 : large ? 3e-4 : 5e-4;
    if (!muon)
        o->others_rate = o->rate;
    if (o->batch_stories == 0 && o->batch_tokens == 0)
        o->batch_tokens = 9700;
    if (o->micro_tokens == 0)
        o->micro_tokens = plan->trainer.device ? plan->trainer.device->micro_rows
                                               : enough_rows(o->threads);
    if (o->micro_tokens < config->positions - 1)
        return error_set_field(err, STATUS_INVALID, "micro-tokens",
                               "--micro-tokens must be at least %d, the longest story's rows",
                               config->positions - 1);
    plan->trainer.micro_rows = o->micro_tokens;
    return STATUS_OK;
}

void fit_recipe(const struct fit_options *o, const struct fit_plan *plan,
                const struct fit_inputs *inputs, struct buffer *recipe) {
    buffer_printf(recipe,
                  "preset=%s numeric=%s optimizer=%s lr=%g adam-lr=%g clip=%g weight-decay=%g "
                  "dropout=%g ",
                  o->preset, dtype_name(plan->trainer.dtype), o->optimizer, o->rate, o->others_rate,
                  o->clip, o->weight_decay, o->dropout);
    buffer_printf(recipe,
                  "schedule=%s warmup=%g final-lr=%g steps=%" PRIu64
                  " batch-stories=%d batch-tokens=%d seed=%" PRIu64 " ",
                  o->shape, o->warmup, o->final_rate, inputs->steps, o->batch_stories,
                  o->batch_tokens, o->seed);
    if (o->layers)
        buffer_printf(recipe, "layers=%d ", o->layers);
    if (o->random_crop > 0)
        buffer_printf(recipe, "crop=%g ", o->random_crop);
    if (plan->trainer.average)
        buffer_printf(recipe, "average=%s average-decay=%g average-from=%g ", o->average,
                      o->average_decay, o->average_from);
    if (o->mix)
        buffer_printf(recipe, "mix=%016" PRIx64 ":%g:%g ", inputs->mix, plan->mix.share,
                      plan->mix.until);
    if (o->teacher)
        buffer_printf(recipe, "teacher=%016" PRIx64 " teacher-weight=%g ", inputs->teacher,
                      o->teacher_weight);
    buffer_printf(recipe, "start=%016" PRIx64 " data=%016" PRIx64, inputs->start, inputs->data);
}

void fit_how(const struct fit_options *o, int workers, struct buffer *how) {
    buffer_printf(how, "np=%d threads=%d micro-tokens=%d", ranks_count(), workers,
                  o->micro_tokens);
    if (o->device && strcmp(o->device, "cpu") != 0)
        buffer_printf(how, " device=%s", o->device);
}
