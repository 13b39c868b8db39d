/* prepare.h - from story files as users get them to the text that is trained on.
 *
 * Writes out/train.txt and out/valid.txt (one clean story a line) and
 * out/vocab.txt (what the vocabulary is learned from: the first `vocab_share` of
 * the training text, or all of it when that is under `vocab_all_below` bytes). Each
 * file is replaced in one step once it is complete.
 *
 * Stories are dropped when empty, not UTF-8, an exact duplicate of an earlier
 * one (after cleaning), or in the training text although in validation. Nothing
 * is kept in memory but 16 bytes of hash per story.
 *
 * Without a validation file a story goes to validation by a hash of the seed
 * and its own text. So the split does not depend on the order of the input,
 * and a story stays on its side when more stories are added.
 * Not thread-safe: two runs into one folder overwrite each other.
 */
#ifndef ALPACA_TRAIN_DATA_PREPARE_H
#define ALPACA_TRAIN_DATA_PREPARE_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

struct prepare_options {
    const char *const *inputs; /* [input_count], what story_reader_open() takes */
    size_t input_count;
    const char *out;   /* the folder to write to; created when missing */
    const char *valid; /* validation stories; NULL to split the inputs */
    double valid_share;
    double vocab_share;
    uint64_t vocab_all_below; /* bytes */
    uint64_t seed;
};

/* What became of the stories of one source. */
struct prepare_counts {
    uint64_t read;
    uint64_t empty, invalid, duplicate, in_validation; /* dropped */
    uint64_t repaired, repairs; /* stories with mojibake, and sequences undone */
};

struct prepare_report {
    struct prepare_counts inputs;
    struct prepare_counts valid; /* of the validation file, if one was given */
    uint64_t train_stories, train_bytes; /* bytes without line ends */
    uint64_t valid_stories, valid_bytes;
    uint64_t vocab_stories, vocab_bytes;
};

enum status prepare_run(const struct prepare_options *options, struct prepare_report *report,
                        struct error *err);

#endif
