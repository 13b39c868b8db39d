#include "train/truecase_learn.h"

#include "base/hash.h"
#include "base/rng.h"
#include "tokenizer/letters.h"
#include "tokenizer/truecase_internal.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A feature; z and n are FTRL's. */
struct truecase_candidate {
    uint64_t hash; /* 0: free */
    size_t name;   /* where its text begins in `names` */
    uint32_t count;
    float z, n;
};

enum { FEATURES_MOST = 32, WEIGHT_SCALE = 32, FORM_COUNT_LEAST = 5, KNOWN_COUNT_LEAST = 20,
       LINE_BYTES = 100, HEAD_BYTES = 32 };
static const double learning_rate = 1, beta = 1;

/* ---- candidates ------------------------------------------------------------------ */

static struct truecase_candidate *find(const struct truecase_learner *learner, uint64_t hash) {
    size_t at = hash & (learner->capacity - 1);
    while (learner->candidates[at].hash && learner->candidates[at].hash != hash)
        at = (at + 1) & (learner->capacity - 1);
    return &learner->candidates[at];
}

/* Moves the candidates that were seen at least so often to a new table of `capacity`. */
static bool move(struct truecase_learner *learner, size_t capacity, uint32_t least) {
    struct truecase_candidate *old = learner->candidates;
    size_t old_capacity = learner->capacity;
    struct truecase_candidate *fresh = calloc(capacity, sizeof *fresh);
    if (!fresh)
        return false;
    learner->candidates = fresh;
    learner->capacity = capacity;
    learner->count = 0;
    for (size_t i = 0; i < old_capacity; i++) {
        if (!old[i].hash || old[i].count < least)
            continue;
        *find(learner, old[i].hash) = old[i];
        learner->count++;
    }
    free(old);
    return true;
}

/* ---- counting -------------------------------------------------------------------- */

static void count_feature(void *context, const char *feature, size_t bytes) {
    struct truecase_learner *learner = context;
    uint64_t hash = hash_bytes(0, feature, bytes) | 1;
    if (learner->names.failed)
        return;
    struct truecase_candidate *candidate = find(learner, hash);
    if (!candidate->hash) {
        *candidate = (struct truecase_candidate){.hash = hash, .name = learner->names.size};
        buffer_append(&learner->names, feature, bytes);
        buffer_append(&learner->names, "", 1);
        if (++learner->count > learner->capacity / 2) {
            learner->names.failed |= !move(learner, 2 * learner->capacity, 0);
            candidate = find(learner, hash);
        }
    }
    candidate->count++;
}

/* Counts the features of a word, and how it is written: "=Form" or "~word". */
static void count_word(void *context, const struct truecaser *truecaser,
                       const struct truecase_word *word, const char *written) {
    char form[TRUECASE_WORD_BYTES + 1];
    bool lower = truecase_form(written, word->key_bytes) == TRUECASE_LOWER;
    truecase_features(truecaser, word, count_feature, context); /* as of a word that is rare */
    form[0] = lower ? '~' : '=';
    memcpy(form + 1, lower ? word->key : written, (size_t)word->key_bytes);
    if (lower || !memchr(word->key, '\'', (size_t)word->key_bytes))
        count_feature(context, form, (size_t)word->key_bytes + 1);
}

/* ---- learning -------------------------------------------------------------------- */

struct pass {
    struct truecase_learner *learner;
    double l1;
    struct truecase_candidate *features[FEATURES_MOST]; /* of the word */
    int count;
};

static double weight_of(const struct truecase_candidate *candidate, double l1) {
    double z = candidate->z;
    if (fabs(z) <= l1)
        return 0;
    return (copysign(l1, z) - z) * learning_rate / (beta + sqrt(candidate->n));
}

static void list_feature(void *context, const char *feature, size_t bytes) {
    struct pass *pass = context;
    struct truecase_candidate *found =
        find(pass->learner, hash_bytes(0, feature, bytes) | 1);
    if (found->hash && pass->count < FEATURES_MOST)
        pass->features[pass->count++] = found;
}

static uint32_t count_of(const struct truecase_learner *learner, const char *name, size_t bytes) {
    return find(learner, hash_bytes(0, name, bytes) | 1)->count;
}

static bool is_known(const struct truecase_learner *learner, const struct truecase_word *word) {
    char name[TRUECASE_WORD_BYTES + 1] = "~";
    memcpy(name + 1, word->key, (size_t)word->key_bytes);
    return count_of(learner, name, (size_t)word->key_bytes + 1) >= KNOWN_COUNT_LEAST;
}

static void learn_word(void *context, const struct truecaser *truecaser,
                       const struct truecase_word *word, const char *written) {
    struct pass *pass = context;
    double weights[FEATURES_MOST], sum = 0;
    enum truecase_form form = truecase_form(written, word->key_bytes);
    char letters[TRUECASE_WORD_BYTES];
    memcpy(letters, word->key, (size_t)word->key_bytes);
    if (form == TRUECASE_SHOUTED || !letters_raise(letters, (size_t)word->key_bytes))
        return; /* a number, or in capitals for emphasis: nothing to learn from */
    pass->count = 0;
    struct truecase_word own = *word;
    own.known = is_known(pass->learner, word);
    truecase_features(truecaser, &own, list_feature, pass);
    for (int i = 0; i < pass->count; i++)
        sum += weights[i] = weight_of(pass->features[i], pass->l1);
    double gradient = 1 / (1 + exp(-sum)) - (form == TRUECASE_CAPITAL);
    for (int i = 0; i < pass->count; i++) {
        struct truecase_candidate *feature = pass->features[i];
        double n = feature->n + gradient * gradient;
        double sigma = (sqrt(n) - sqrt(feature->n)) / learning_rate;
        feature->z += (float)(gradient - sigma * weights[i]);
        feature->n = (float)n;
    }
    pass->learner->words++;
}

/* ---- the table ------------------------------------------------------------------- */

struct line {
    const char *name;
    int weight;
};

static int by_size(const void *a, const void *b) {
    const struct line *left = a, *right = b;
    int difference = abs(right->weight) - abs(left->weight);
    return difference ? difference : strcmp(left->name, right->name);
}

static int by_name(const void *a, const void *b) {
    const struct line *left = a, *right = b;
    return strcmp(left->name, right->name);
}

/* Whether "=Form" is the usual way to write a word that has another capital than its first. */
static bool is_usual_form(const struct truecase_learner *learner,
                          const struct truecase_candidate *form, const char *name) {
    char plain[TRUECASE_WORD_BYTES + 1];
    size_t bytes = strlen(name);
    memcpy(plain, name, bytes);
    letters_lower(plain, bytes);
    letters_raise(plain + 1, bytes - 1);
    if (form->count < FORM_COUNT_LEAST || strcmp(plain, name) == 0)
        return false;
    return form->count > 2 * count_of(learner, plain, bytes);
}

static size_t line_bytes(const struct line *line) {
    char number[16];
    return (size_t)snprintf(number, sizeof number, "%d", line->weight) + strlen(line->name) + 2;
}

/* The lines of words: forms, and common words, many to a line. */
static void write_words(struct line *lines, size_t count, struct buffer *table) {
    size_t begins = table->size;
    qsort(lines, count, sizeof *lines, by_name);
    for (size_t i = 0; i < count; i++) {
        bool goes_on = i > 0 && *lines[i].name == '~' && *lines[i - 1].name == '~' &&
                       table->size - begins + strlen(lines[i].name) < LINE_BYTES;
        buffer_append_text(table, i == 0 ? "" : goes_on ? " " : "\n");
        begins = goes_on ? begins : table->size;
        buffer_append_text(table, lines[i].name);
    }
    buffer_append_text(table, count ? "\n" : "");
}

/* The lines of weights, the largest as far as there is room for them. */
static size_t write_weights(struct line *lines, size_t count, struct buffer *table) {
    size_t kept = 0, size = table->size;
    qsort(lines, count, sizeof *lines, by_size);
    while (kept < count && size + line_bytes(&lines[kept]) < TRUECASE_FILE_BYTES - HEAD_BYTES)
        size += line_bytes(&lines[kept++]);
    qsort(lines, kept, sizeof *lines, by_name);
    for (size_t i = 0; i < kept; i++)
        buffer_printf(table, "%d %s\n", lines[i].weight, lines[i].name);
    return kept;
}

static bool is_word_line(const struct truecase_learner *learner,
                         const struct truecase_candidate *candidate, const char *name) {
    return *name == '~' ? candidate->count >= KNOWN_COUNT_LEAST
                        : is_usual_form(learner, candidate, name);
}

static enum status write_table(const struct truecase_learner *learner, double l1,
                               struct buffer *table, size_t *weights, struct error *err) {
    struct line *lines = malloc((learner->count + 1) * sizeof *lines);
    struct buffer body = {0};
    size_t words = 0, others = learner->count, count = 2; /* lines: the head has two */
    if (!lines)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the table");
    for (size_t i = 0; i < learner->capacity; i++) {
        const struct truecase_candidate *candidate = &learner->candidates[i];
        const char *name = learner->names.data + candidate->name;
        if (!candidate->hash)
            continue;
        int weight = (int)lround(WEIGHT_SCALE * weight_of(candidate, l1));
        if (*name != '=' && *name != '~' && weight)
            lines[--others] = (struct line){name, weight};
        else if ((*name == '=' || *name == '~') && is_word_line(learner, candidate, name))
            lines[words++] = (struct line){name, 0};
    }
    write_words(lines, words, &body);
    *weights = write_weights(lines + others, learner->count - others, &body);
    for (size_t i = 0; i < body.size; i++)
        count += body.data[i] == '\n';
    buffer_printf(table, "truecase 1\n# %zu lines\n", count);
    buffer_append(table, body.data, body.size);
    bool failed = body.failed || table->failed;
    buffer_free(&body);
    free(lines);
    return failed ? error_set(err, STATUS_NO_MEMORY, "no memory for the table") : STATUS_OK;
}

/* ---- all of it ------------------------------------------------------------------- */

enum status truecase_learner_add(struct truecase_learner *learner, const char *text, size_t bytes,
                                 struct error *err) {
    if (learner->story_count == learner->story_capacity) {
        size_t capacity = learner->story_capacity ? 2 * learner->story_capacity : 1024;
        size_t *grown = realloc(learner->stories, capacity * sizeof *grown);
        if (!grown)
            return error_set(err, STATUS_NO_MEMORY, "no memory for the stories");
        learner->stories = grown;
        learner->story_capacity = capacity;
    }
    learner->stories[learner->story_count++] = learner->texts.size;
    buffer_append(&learner->texts, text, bytes);
    buffer_append(&learner->texts, "", 1);
    return learner->texts.failed ? error_set(err, STATUS_NO_MEMORY, "no memory for the stories")
                                 : STATUS_OK;
}

static void each_story(const struct truecase_learner *learner, const int32_t *order,
                       truecase_word_function *function, void *context) {
    for (size_t i = 0; i < learner->story_count; i++) {
        const char *text = learner->texts.data + learner->stories[order[i]];
        truecaser_observe(text, strlen(text), function, context);
    }
}

enum status truecase_learn(struct truecase_learner *learner,
                           const struct truecase_settings *settings, struct buffer *table,
                           size_t *weights, struct error *err) {
    enum { CAPACITY_AT_FIRST = 1 << 16 };
    struct pass pass = {.learner = learner, .l1 = settings->l1};
    enum status status = STATUS_NO_MEMORY;
    int32_t *order = malloc((learner->story_count + 1) * sizeof *order);
    if (!order || !move(learner, CAPACITY_AT_FIRST, 0))
        goto cleanup;
    for (size_t i = 0; i < learner->story_count; i++)
        order[i] = (int32_t)i;
    each_story(learner, order, count_word, learner);
    if (learner->names.failed || !move(learner, learner->capacity, (uint32_t)settings->min_count))
        goto cleanup;
    for (int i = 0; i < settings->passes; i++) {
        learner->words = 0;
        rng_shuffle((uint64_t)i, order, learner->story_count);
        each_story(learner, order, learn_word, &pass);
    }
    status = write_table(learner, settings->l1, table, weights, err);
cleanup:
    free(order);
    return status == STATUS_NO_MEMORY ? error_set(err, status, "no memory for the features")
                                      : status;
}

void truecase_learner_free(struct truecase_learner *learner) {
    buffer_free(&learner->texts);
    buffer_free(&learner->names);
    free(learner->stories);
    free(learner->candidates);
    *learner = (struct truecase_learner){0};
}
