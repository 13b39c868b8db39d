/* engine.h - a model, opened and ready to write stories.
 *
 * Brings together what every program which writes stories needs: the weights,
 * the tokenizer and the table for capitals that belong to them, perhaps a smaller
 * model that drafts for them, and a running scheduler. The stories themselves are
 * completions (engine/completion.h).
 *
 * Ownership: an engine owns all of these; completions borrow it and must be gone
 * before engine_close(). Thread-safe once open, except close.
 */
#ifndef ALPACA_ENGINE_ENGINE_H
#define ALPACA_ENGINE_ENGINE_H

#include "base/file.h"
#include "base/status.h"
#include "engine/scheduler.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/truecase.h"

#include <stdbool.h>
#include <stddef.h>

struct engine {
    char name[64];                /* the folder's last part: "alpaca" */
    char folder[FILE_PATH_BYTES]; /* where the model was found */
    char draft_folder[FILE_PATH_BYTES]; /* that of `draft` */
    /* "fp_" and ten hexadecimal digits, of the weights, the type of their numbers and the sampler's
     * draw: where it differs, the same seed may write another story. */
    char fingerprint[16];
    struct model *model;
    struct model *draft; /* NULL: none */
    struct tokenizer *tokenizer;
    struct truecase_table *capitals;
    struct scheduler *scheduler;
};

/* Opens `folder`; NULL looks for one with engine_find(). `dtype` is "int8" or "f32"
 * (linear.h); NULL for int8. The draft is the one that the options' choice names (draft_model.h).
 * Starts the scheduler's threads. On failure nothing stays open. */
enum status engine_open(struct engine *engine, const char *folder, const char *dtype,
                        const struct scheduler_options *options, struct error *err);
/* Appends what engine_open_packed() reads: the model in INT8, as which `engine` is open, and its
 * folder's tokenizer and table for capitals, in one block. */
enum status engine_pack(const struct engine *engine, struct buffer *bytes, struct error *err);
/* Opens bytes[count], which begin at a multiple of ARENA_ALIGNMENT and outlive the engine. No file
 * is read. STATUS_CORRUPT unless they are what engine_pack() wrote. */
enum status engine_open_packed(struct engine *engine, const void *bytes, size_t count,
                               const struct scheduler_options *options, struct error *err);
/* What an engine that opens bytes[count] would have as its fingerprint; the same errors. */
enum status engine_packed_fingerprint(char fingerprint[16], const void *bytes, size_t count,
                                      struct error *err);
void engine_close(struct engine *engine); /* stops at once; a zeroed one is allowed */

/* The best model folder at hand: `alpaca`, else `mini`, else `small`, in weights/ here, in the
 * share/alpaca/weights that belongs to the running program, or in a source tree around it. */
enum status engine_find(char folder[FILE_PATH_BYTES], struct error *err);

/* The ids a story begins with: bos and the pieces of `text[bytes]`. More ids than the model has
 * positions for, less one for the story, are STATUS_INVALID stating both numbers; with
 * `truncate` the oldest pieces are dropped instead. The caller frees *ids. */
enum status engine_read_prompt(const struct engine *engine, const char *text, size_t bytes,
                               bool truncate, struct token_list *ids, struct error *err);

/* The same for a prompt of ids, before which bos is put unless they begin with it. */
enum status engine_read_ids(const struct engine *engine, const int32_t *tokens, size_t count,
                            bool truncate, struct token_list *ids, struct error *err);

#endif
