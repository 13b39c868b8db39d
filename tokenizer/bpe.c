#include "tokenizer/bpe.h"

#include "tokenizer/utf8.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct symbol {
    const char *text;
    uint32_t bytes;   /* 0: merged into the symbol before it */
    int32_t id;       /* of vocabulary_find(); -1: not looked up, or no piece */
    int32_t previous; /* index of the neighbors; -1: none */
    int32_t next;
    bool frozen; /* user-defined: never merged */
};

struct candidate {
    float score;
    int32_t left, right; /* symbols */
    uint32_t bytes;      /* of the merged piece; other now: one of the two has changed since */
    int32_t id;          /* of the merged piece */
};

struct merger {
    const struct vocabulary *vocabulary;
    struct symbol *symbols;
    size_t symbol_count, symbol_capacity;
    struct candidate *heap; /* best first */
    size_t heap_count, heap_capacity;
    uint32_t *splits; /* [vocabulary count]: bytes of an unused piece's left half, 0: none */
    struct text_span *pending; /* stack of emit_split() */
    size_t pending_capacity;
    struct token_list *ids;
    bool after_unknown;
    bool failed; /* memory ran out */
};

/* ---- the heap ---- */
static bool is_better(const struct candidate *a, const struct candidate *b) {
    return a->score > b->score || (a->score == b->score && a->left < b->left);
}

static void heap_push(struct merger *merger, struct candidate candidate) {
    struct candidate *heap = merger->heap;
    size_t at = merger->heap_count++;
    for (size_t parent; at > 0 && is_better(&candidate, &heap[parent = (at - 1) / 2]); at = parent)
        heap[at] = heap[parent];
    heap[at] = candidate;
}

static struct candidate heap_pop(struct merger *merger) {
    struct candidate *heap = merger->heap, top = heap[0];
    struct candidate last = heap[--merger->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= merger->heap_count)
            break;
        if (child + 1 < merger->heap_count && is_better(&heap[child + 1], &heap[child]))
            child++;
        if (!is_better(&heap[child], &last))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return top;
}

/* ---- merging ---- */
static void add_candidate(struct merger *merger, int32_t left, int32_t right) {
    if (left < 0 || right < 0)
        return;
    const struct symbol *a = &merger->symbols[left], *b = &merger->symbols[right];
    if (a->frozen || b->frozen)
        return;
    uint32_t bytes = a->bytes + b->bytes; /* neighbors, so their texts touch */
    int32_t id = vocabulary_find(merger->vocabulary, a->text, bytes);
    if (id < 0)
        return;
    const struct piece *piece = &merger->vocabulary->pieces[id];
    heap_push(merger, (struct candidate){piece->score, left, right, bytes, id});
    if (piece->type == PIECE_UNUSED)
        merger->splits[id] = a->bytes;
}

static void merge_all(struct merger *merger) {
    struct symbol *symbols = merger->symbols;
    for (size_t i = 1; i < merger->symbol_count; i++)
        add_candidate(merger, (int32_t)i - 1, (int32_t)i);
    while (merger->heap_count) {
        struct candidate top = heap_pop(merger);
        struct symbol *left = &symbols[top.left], *right = &symbols[top.right];
        if (left->bytes == 0 || right->bytes == 0 || left->bytes + right->bytes != top.bytes)
            continue;
        left->bytes = top.bytes;
        left->id = top.id;
        left->next = right->next;
        if (right->next >= 0)
            symbols[right->next].previous = top.left;
        right->bytes = 0;
        add_candidate(merger, left->previous, top.left);
        add_candidate(merger, top.left, left->next);
    }
}

/* ---- output ---- */
static void emit_id(struct merger *merger, int32_t id) {
    merger->failed |= !token_list_append(merger->ids, id);
}

static void emit_piece(struct merger *merger, const char *text, size_t bytes, int32_t id) {
    const struct vocabulary *vocabulary = merger->vocabulary;
    /* A control piece is never read out of text: whoever writes its name means the name. */
    if (vocabulary->pieces[id].type == PIECE_CONTROL)
        id = vocabulary->unk_id;
    bool unknown = id == vocabulary->unk_id;
    if (unknown && vocabulary->byte_fallback) {
        for (size_t i = 0; i < bytes; i++)
            emit_id(merger, vocabulary->byte_ids[(unsigned char)text[i]]);
    } else if (!unknown || !merger->after_unknown) {
        emit_id(merger, id);
    }
    merger->after_unknown = unknown;
}

static bool reserve_pending(struct merger *merger, size_t count) {
    if (count <= merger->pending_capacity)
        return true;
    size_t capacity = 2 * count;
    struct text_span *pending = realloc(merger->pending, capacity * sizeof *pending);
    if (!pending) {
        merger->failed = true;
        return false;
    }
    merger->pending = pending;
    merger->pending_capacity = capacity;
    return true;
}

/* Takes an unused piece apart again, the way it was last put together. */
static void emit_split(struct merger *merger, const char *text, size_t bytes) {
    const struct vocabulary *vocabulary = merger->vocabulary;
    size_t depth = 0;
    if (!reserve_pending(merger, 1))
        return;
    merger->pending[depth++] = (struct text_span){text, bytes};
    while (depth) {
        struct text_span part = merger->pending[--depth];
        int32_t id = vocabulary_id(vocabulary, part.text, part.bytes);
        size_t left = vocabulary->pieces[id].type == PIECE_UNUSED ? merger->splits[id] : 0;
        if (left == 0) {
            emit_piece(merger, part.text, part.bytes, id);
            continue;
        }
        if (!reserve_pending(merger, depth + 2))
            return;
        merger->pending[depth++] = (struct text_span){part.text + left, part.bytes - left};
        merger->pending[depth++] = (struct text_span){part.text, left};
    }
}

static void emit_all(struct merger *merger) {
    const struct vocabulary *vocabulary = merger->vocabulary;
    int32_t at = merger->symbol_count ? 0 : -1;
    while (at >= 0 && !merger->failed) {
        const struct symbol *symbol = &merger->symbols[at];
        int32_t id = symbol->id >= 0 ? vocabulary->canonical[symbol->id]
                                     : vocabulary_id(vocabulary, symbol->text, symbol->bytes);
        if (vocabulary->pieces[id].type == PIECE_UNUSED)
            emit_split(merger, symbol->text, symbol->bytes);
        else
            emit_piece(merger, symbol->text, symbol->bytes, id);
        at = symbol->next;
    }
}

/* ---- splitting the text ---- */
static bool add_symbol(struct merger *merger, const char *text, size_t bytes, bool frozen) {
    if (merger->symbol_count == merger->symbol_capacity) {
        size_t capacity = merger->symbol_capacity ? 2 * merger->symbol_capacity : 32;
        struct symbol *symbols = realloc(merger->symbols, capacity * sizeof *symbols);
        if (!symbols)
            return false;
        merger->symbols = symbols;
        merger->symbol_capacity = capacity;
    }
    int32_t index = (int32_t)merger->symbol_count++;
    if (index > 0)
        merger->symbols[index - 1].next = index;
    merger->symbols[index] = (struct symbol){text, (uint32_t)bytes, -1, index - 1, -1, frozen};
    return true;
}

/* Every merge takes one candidate away and adds at most two, and there are
 * fewer merges than symbols: twice the symbols is always room enough. */
static bool reserve_heap(struct merger *merger) {
    size_t capacity = 2 * merger->symbol_count;
    if (capacity <= merger->heap_capacity)
        return true;
    free(merger->heap);
    merger->heap_capacity = 0;
    merger->heap = malloc(capacity * sizeof *merger->heap);
    if (!merger->heap)
        return false;
    merger->heap_capacity = capacity;
    return true;
}

static void encode_symbols(struct merger *merger) {
    if (!reserve_heap(merger)) {
        merger->failed = true;
        return;
    }
    merge_all(merger);
    emit_all(merger);
    merger->symbol_count = 0;
}

static bool begins_word(const char *text, size_t bytes) {
    return bytes == SPACE_MARK_BYTES && memcmp(text, SPACE_MARK, SPACE_MARK_BYTES) == 0;
}

static void encode_text(struct merger *merger, const char *text, size_t bytes) {
    const struct vocabulary *vocabulary = merger->vocabulary;
    const char *end = text + bytes;
    while (text < end && !merger->failed) {
        size_t left = (size_t)(end - text);
        size_t length = prefix_matcher_longest(&vocabulary->user_defined, text, left);
        bool frozen = length > 0;
        if (!frozen) {
            length = utf8_promised((unsigned char)*text);
            length = length < left ? length : left;
        }
        if (vocabulary->words_independent && begins_word(text, length))
            encode_symbols(merger); /* the word that ends here, so that heaps stay small */
        merger->failed |= !add_symbol(merger, text, length, frozen);
        text += length;
    }
    if (!merger->failed)
        encode_symbols(merger);
}

enum status bpe_encode(const struct vocabulary *vocabulary, const char *text, size_t bytes,
                       struct token_list *ids, struct error *err) {
    struct merger merger = {.vocabulary = vocabulary, .ids = ids};
    if (vocabulary->has_unused) {
        merger.splits = calloc(vocabulary->count, sizeof *merger.splits);
        merger.failed = !merger.splits;
    }
    encode_text(&merger, text, bytes);
    free(merger.symbols);
    free(merger.heap);
    free(merger.splits);
    free(merger.pending);
    if (merger.failed)
        return error_set(err, STATUS_NO_MEMORY, "no memory to tokenize the text");
    return STATUS_OK;
}
