#include "train/data/dataset.h"

#include "base/buffer.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/rng.h"
#include "train/data/story_reader.h"
#include "train/data/text_clean.h"

#include <stdlib.h>
#include <string.h>

enum {
    BLOCK_STORIES = 4096,           /* encoded at once by the pool */
    BLOCK_BYTES = 16 * 1024 * 1024, /* at most, apart from the last story */
};

/* What one worker makes of its slice of a block. */
struct slice {
    struct token_list ids; /* of all its stories, one after another */
    struct token_list pieces;
    struct buffer decoded;
    uint64_t text_bytes;
    enum status status;
    struct error error;
};

struct loader {
    const struct dataset_source *source;
    struct tokenizer_specials specials;
    struct dataset *dataset;
    struct buffer ids, offsets;     /* of the dataset, as far as it is read */
    struct buffer text;             /* the block's clean stories, one after another */
    size_t ends[BLOCK_STORIES];     /* of each in `text` */
    uint32_t counts[BLOCK_STORIES]; /* ids of each; 0: it is left out */
    size_t block;                   /* stories in it */
    struct slice *slices;           /* [workers] */
};

/* ---- encoding --------------------------------------------------------------- */

static enum status decoded_bytes(const struct loader *loader, struct slice *slice, size_t pieces,
                                 size_t *bytes) {
    buffer_clear(&slice->decoded);
    enum status status = tokenizer_decode(loader->source->tokenizer, slice->pieces.ids, pieces,
                                          &slice->decoded, &slice->error);
    *bytes = slice->decoded.size;
    return status;
}

/* The part of the text that the kept pieces stand for; see dataset.h. */
static enum status cut_bytes(const struct loader *loader, struct slice *slice, size_t bytes,
                             size_t kept_pieces, uint64_t *kept_bytes) {
    size_t whole, kept;
    enum status status = decoded_bytes(loader, slice, slice->pieces.count, &whole);
    if (status == STATUS_OK)
        status = decoded_bytes(loader, slice, kept_pieces, &kept);
    if (status == STATUS_OK)
        *kept_bytes = whole ? ((uint64_t)bytes * kept + whole / 2) / whole : bytes;
    return status;
}

static enum status encode_story(const struct loader *loader, struct slice *slice, const char *text,
                                size_t bytes, uint32_t *count) {
    slice->pieces.count = 0;
    enum status status =
        tokenizer_encode(loader->source->tokenizer, text, bytes, &slice->pieces, &slice->error);
    *count = 0;
    if (status != STATUS_OK || slice->pieces.count == 0)
        return status;
    size_t pieces = slice->pieces.count;
    bool cut = pieces + 2 > loader->source->positions;
    uint64_t kept_bytes = bytes;
    if (pieces > loader->source->positions - 1) { /* if just as many, only the eos is cut */
        pieces = loader->source->positions - 1;
        status = cut_bytes(loader, slice, bytes, pieces, &kept_bytes);
    }
    bool stored = token_list_append(&slice->ids, loader->specials.bos);
    for (size_t i = 0; i < pieces; i++)
        stored = stored && token_list_append(&slice->ids, slice->pieces.ids[i]);
    if (!cut)
        stored = stored && token_list_append(&slice->ids, loader->specials.eos);
    if (status == STATUS_OK && !stored)
        status = error_set(&slice->error, STATUS_NO_MEMORY, "no memory for the ids");
    *count = (uint32_t)(pieces + (cut ? 1 : 2));
    slice->text_bytes += kept_bytes;
    return status;
}

static void encode_slice(void *context, int worker, int workers) {
    struct loader *loader = context;
    struct slice *slice = &loader->slices[worker];
    size_t begin, end;
    pool_slice(loader->block, 1, worker, workers, &begin, &end);
    slice->ids.count = 0;
    slice->status = STATUS_OK;
    for (size_t i = begin; i < end && slice->status == STATUS_OK; i++) {
        size_t from = i ? loader->ends[i - 1] : 0;
        slice->status = encode_story(loader, slice, loader->text.data + from,
                                     loader->ends[i] - from, &loader->counts[i]);
    }
}

/* ---- collecting ------------------------------------------------------------- */

static enum status no_memory(const struct loader *loader, struct error *err) {
    return error_set(err, STATUS_NO_MEMORY, "no memory for the %zu stories of %s",
                     loader->dataset->stories, loader->source->path);
}

/* Encodes the block and adds it to the dataset, in the order of the text. */
static enum status finish_block(struct loader *loader, struct pool *pool, struct error *err) {
    struct dataset *dataset = loader->dataset;
    uint64_t offset = loader->ids.size / sizeof *dataset->ids;
    pool_run(pool, encode_slice, loader);
    for (int w = 0; w < pool_workers(pool); w++) {
        const struct slice *slice = &loader->slices[w];
        if (slice->status != STATUS_OK)
            return error_set(err, slice->status, "%s: %s", loader->source->path,
                             slice->error.message);
        for (size_t i = 0; i < slice->ids.count; i++) {
            uint16_t id = (uint16_t)slice->ids.ids[i];
            buffer_append(&loader->ids, &id, sizeof id);
        }
    }
    for (size_t i = 0; i < loader->block; i++) {
        uint32_t count = loader->counts[i];
        if (count == 0)
            continue;
        buffer_append(&loader->offsets, &offset, sizeof offset);
        offset += count;
        dataset->stories++;
        if (count - 1 > dataset->longest_rows)
            dataset->longest_rows = count - 1;
    }
    loader->block = 0;
    buffer_clear(&loader->text);
    return loader->ids.failed || loader->offsets.failed ? no_memory(loader, err) : STATUS_OK;
}

static enum status read_all(struct loader *loader, struct pool *pool, struct error *err) {
    struct story_reader *reader = NULL;
    struct buffer story = {0}, clean = {0};
    size_t repairs = 0, invalid = 0;
    enum status status = story_reader_open(&reader, loader->source->path, err);
    size_t limit = loader->source->max_stories ? loader->source->max_stories : SIZE_MAX;
    while (status == STATUS_OK && loader->dataset->stories + loader->block < limit) {
        bool got;
        status = story_reader_next(reader, &story, &got, err);
        if (status != STATUS_OK || !got)
            break;
        enum text_verdict verdict = text_clean(story.data, story.size, &clean, &repairs);
        invalid += verdict == TEXT_INVALID_UTF8;
        if (verdict == TEXT_EMPTY || verdict == TEXT_INVALID_UTF8)
            continue;
        if (verdict == TEXT_NO_MEMORY || !buffer_append(&loader->text, clean.data, clean.size)) {
            status = no_memory(loader, err);
            break;
        }
        loader->ends[loader->block++] = loader->text.size;
        if (loader->block == BLOCK_STORIES || loader->text.size >= BLOCK_BYTES)
            status = finish_block(loader, pool, err);
    }
    if (status == STATUS_OK && loader->block)
        status = finish_block(loader, pool, err);
    if (invalid)
        log_warn("%s: %zu stories are not UTF-8 and were left out", loader->source->path, invalid);
    story_reader_close(reader);
    buffer_free(&story);
    buffer_free(&clean);
    return status;
}

static enum status check_tokenizer(const struct tokenizer *tokenizer, size_t positions,
                                   struct error *err) {
    struct tokenizer_specials specials = tokenizer_specials(tokenizer);
    if (specials.bos < 0 || specials.eos < 0)
        return error_set(err, STATUS_UNSUPPORTED, "the tokenizer has no bos or no eos");
    if (tokenizer_vocab_size(tokenizer) > UINT16_MAX + 1u)
        return error_set(err, STATUS_UNSUPPORTED, "a vocabulary of %zu pieces; at most 65536",
                         tokenizer_vocab_size(tokenizer));
    if (positions < 2 || positions > INT32_MAX)
        return error_set_field(err, STATUS_INVALID, "positions",
                               "positions must be 2 or more, not %zu", positions);
    return STATUS_OK;
}

/* Hands what has been read over to the dataset. */
static enum status finish(struct loader *loader, struct error *err) {
    struct dataset *dataset = loader->dataset;
    uint64_t end = loader->ids.size / sizeof *dataset->ids;
    if (dataset->stories == 0)
        return error_set(err, STATUS_INVALID, "no stories in %s", loader->source->path);
    if (dataset->stories > INT32_MAX)
        return error_set(err, STATUS_TOO_LARGE, "more than %d stories in %s", INT32_MAX,
                         loader->source->path);
    if (!buffer_append(&loader->offsets, &end, sizeof end))
        return no_memory(loader, err);
    dataset->id_count = end;
    dataset->rows = end - dataset->stories;
    dataset->ids = (void *)buffer_release(&loader->ids);
    dataset->offsets = (void *)buffer_release(&loader->offsets);
    return STATUS_OK;
}

enum status dataset_load(struct dataset *dataset, const struct dataset_source *source,
                         struct pool *pool, struct error *err) {
    *dataset = (struct dataset){0};
    enum status status = check_tokenizer(source->tokenizer, source->positions, err);
    if (status != STATUS_OK)
        return status;
    size_t workers = (size_t)pool_workers(pool);
    struct loader *loader = calloc(1, sizeof *loader);
    if (!loader)
        return error_set(err, STATUS_NO_MEMORY, "no memory to read %s", source->path);
    loader->source = source;
    loader->specials = tokenizer_specials(source->tokenizer);
    loader->dataset = dataset;
    loader->slices = calloc(workers, sizeof *loader->slices);
    status = loader->slices ? read_all(loader, pool, err) : no_memory(loader, err);
    if (status == STATUS_OK)
        status = finish(loader, err);
    for (size_t i = 0; loader->slices && i < workers; i++) {
        dataset->text_bytes += loader->slices[i].text_bytes;
        token_list_free(&loader->slices[i].ids);
        token_list_free(&loader->slices[i].pieces);
        buffer_free(&loader->slices[i].decoded);
    }
    free(loader->slices);
    buffer_free(&loader->ids);
    buffer_free(&loader->offsets);
    buffer_free(&loader->text);
    free(loader);
    if (status != STATUS_OK)
        dataset_free(dataset);
    return status;
}

void dataset_free(struct dataset *dataset) {
    free(dataset->ids);
    free(dataset->offsets);
    *dataset = (struct dataset){0};
}

uint64_t dataset_hash(const struct dataset *dataset) {
    uint64_t hash = hash_bytes(0, dataset->ids, dataset->id_count * sizeof *dataset->ids);
    return hash_bytes(hash, dataset->offsets, (dataset->stories + 1) * sizeof *dataset->offsets);
}

void dataset_order(const struct dataset *dataset, uint64_t seed, uint64_t epoch, int32_t *order) {
    for (size_t i = 0; i < dataset->stories; i++)
        order[i] = (int32_t)i;
    rng_shuffle(rng_derive(seed, epoch), order, dataset->stories);
}
