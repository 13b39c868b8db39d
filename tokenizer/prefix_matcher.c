#include "tokenizer/prefix_matcher.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

bool prefix_matcher_add(struct prefix_matcher *matcher, struct text_span word) {
    assert(word.bytes > 0);
    if (matcher->count == matcher->capacity) {
        size_t capacity = matcher->capacity ? 2 * matcher->capacity : 16;
        struct text_span *words = realloc(matcher->words, capacity * sizeof *words);
        if (!words)
            return false;
        matcher->words = words;
        matcher->capacity = capacity;
    }
    matcher->words[matcher->count++] = word;
    matcher->starts[(unsigned char)word.text[0]] = true;
    return true;
}

static int compare(const void *left, const void *right) {
    const struct text_span *a = left, *b = right;
    int order = memcmp(a->text, b->text, a->bytes < b->bytes ? a->bytes : b->bytes);
    return order ? order : (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

void prefix_matcher_sort(struct prefix_matcher *matcher) {
    if (matcher->count)
        qsort(matcher->words, matcher->count, sizeof *matcher->words, compare);
}

void prefix_matcher_free(struct prefix_matcher *matcher) {
    free(matcher->words);
    *matcher = (struct prefix_matcher){0};
}

/* The first of words[low, high), which agree in their first `depth` bytes,
 * whose byte at `depth` is at least `byte`; a word that ends there is below all. */
static size_t lower_bound(const struct prefix_matcher *matcher, size_t low, size_t high,
                          size_t depth, int byte) {
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct text_span *word = &matcher->words[middle];
        int here = depth < word->bytes ? (unsigned char)word->text[depth] : -1;
        if (here < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t prefix_matcher_longest(const struct prefix_matcher *matcher, const char *text,
                              size_t bytes) {
    if (bytes == 0 || !matcher->starts[(unsigned char)text[0]])
        return 0;
    size_t low = 0, high = matcher->count, longest = 0;
    for (size_t depth = 0; depth < bytes && low < high; depth++) {
        int byte = (unsigned char)text[depth];
        low = lower_bound(matcher, low, high, depth, byte);
        high = lower_bound(matcher, low, high, depth, byte + 1);
        if (low < high && matcher->words[low].bytes == depth + 1)
            longest = depth + 1;
    }
    return longest;
}
