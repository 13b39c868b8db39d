#include "base/hash.h"
#include "tokenizer/letters.h"
#include "tokenizer/truecase_internal.h"
#include "tokenizer/utf8.h"

#include <string.h>

/* ---- characters ------------------------------------------------------------------ */

/* What a character of this length is in a word: a letter or digit, an apostrophe, or no part of it.
 * Beyond ASCII, everything from U+00C0 on is a letter but the blocks of general punctuation. */
enum part { PART_LETTER, PART_APOSTROPHE, PART_NONE };

static bool begins_with(const char *text, size_t length, const char *character) {
    return length == strlen(character) && memcmp(text, character, length) == 0;
}

static enum part part_of(const char *text, size_t length) {
    unsigned char first = (unsigned char)*text;
    if (length == 1) {
        bool letter = (first >= 'a' && first <= 'z') || (first >= 'A' && first <= 'Z') ||
                      (first >= '0' && first <= '9');
        return letter ? PART_LETTER : first == '\'' ? PART_APOSTROPHE : PART_NONE;
    }
    if (begins_with(text, length, "’"))
        return PART_APOSTROPHE;
    return first == 0xC2 || (first == 0xE2 && (unsigned char)text[1] < 0x84) ? PART_NONE
                                                                            : PART_LETTER;
}

/* How a character between words is written in a gap. Straight quotes stay as they are until it is
 * known what stands on both sides of them. */
static char gap_symbol(const char *text, size_t length) {
    static const struct {
        const char *character;
        char symbol;
    } others[] = {{"“", GAP_OPEN},  {"”", GAP_CLOSE}, {"‘", GAP_OPEN}, {"’", GAP_CLOSE},
                  {"«", GAP_OPEN},  {"»", GAP_CLOSE}, {"…", '.'},      {"\xC2\xA0", GAP_BLANK}};
    if (length == 1)
        return strchr(" \t\r\n", *text) && *text ? GAP_BLANK
               : strchr("!\"'(),.:;?", *text) && *text ? *text
                                                       : '-';
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (begins_with(text, length, others[i].character))
            return others[i].symbol;
    return '-';
}

/* ---- gaps ------------------------------------------------------------------------ */

static void add_to_gap(struct truecaser *t, char symbol) {
    if (t->gap_count > 0 && t->gap[t->gap_count - 1] == symbol)
        return; /* three dots are as good as one */
    if (t->gap_count == TRUECASE_GAP_CHARACTERS)
        memmove(t->gap, t->gap + 1, (size_t)--t->gap_count);
    t->gap[t->gap_count++] = symbol;
}

static bool has(const char *gap, int count, const char *symbols) {
    for (int i = 0; i < count; i++)
        if (strchr(symbols, gap[i]))
            return true;
    return false;
}

/* Whether a straight quote opens one: a blank before it and none behind; where both or none have
 * one, it is the other of the pair. */
static bool opens(const struct truecaser *t, int at) {
    bool before = at > 0 && strchr("^_<(-", t->gap[at - 1]);
    bool behind = at + 1 < t->gap_count && !strchr("\"'<(", t->gap[at + 1]);
    return before == behind ? !t->in_quote : before;
}

static void open_quote(struct truecaser *t, int at) {
    while (at > 0 && t->gap[at - 1] == GAP_BLANK)
        at--;
    t->opened = at > 0 ? t->gap[at - 1] : GAP_BLANK;
    if (t->said && strchr(".!?", t->opened))
        t->opened = '&';
    t->in_quote = true;
}

/* Writes the gap before a word that begins now: quotes are paired, and blanks are left out but for
 * a gap that is nothing else. Returns its length. */
static int write_gap(struct truecaser *t, char out[TRUECASE_GAP_CHARACTERS]) {
    int count = 0;
    for (int i = 0; i < t->gap_count; i++) {
        char symbol = t->gap[i];
        if (symbol == '"' || symbol == '\'')
            symbol = t->gap[i] = opens(t, i) ? GAP_OPEN : GAP_CLOSE;
        if (symbol == GAP_OPEN)
            open_quote(t, i);
        else if (symbol == GAP_CLOSE)
            t->in_quote = false;
        if (symbol != GAP_BLANK || t->gap_count == 1)
            out[count++] = symbol;
    }
    if (has(out, count, ".!?") && !has(out, count, "<>"))
        t->said = false;
    return count;
}

bool truecase_inside_sentence(const struct truecase_word *word) {
    return !has(word->gap, word->gap_count, "^.!?:<>");
}

/* ---- what was seen --------------------------------------------------------------- */

enum { SEEN_TRIES = 4 };

static uint16_t seen_mark(const struct truecase_word *word, size_t *first) {
    uint64_t hash = hash_bytes(0, word->key, (size_t)word->key_bytes);
    *first = hash % TRUECASE_SEEN;
    return (uint16_t)(hash >> 48 | 1);
}

static struct truecase_seen look_up(const struct truecaser *t, const struct truecase_word *word) {
    size_t first;
    uint16_t mark = seen_mark(word, &first);
    for (size_t i = 0; i < SEEN_TRIES; i++)
        if (t->seen[(first + i) % TRUECASE_SEEN].mark == mark)
            return t->seen[(first + i) % TRUECASE_SEEN];
    return (struct truecase_seen){0};
}

/* Where there is no room left, the last place that is tried is taken from its word. */
static void remember(struct truecaser *t, const struct truecase_word *word, bool capital) {
    size_t first;
    uint16_t mark = seen_mark(word, &first);
    struct truecase_seen *place = NULL;
    for (size_t i = 0; i < SEEN_TRIES; i++) {
        place = &t->seen[(first + i) % TRUECASE_SEEN];
        if (place->mark == 0 || place->mark == mark)
            break;
    }
    if (place->mark != mark)
        *place = (struct truecase_seen){.mark = mark};
    uint8_t *count = capital ? &place->capital : &place->lower;
    if (*count < UINT8_MAX)
        ++*count;
}

/* ---- features -------------------------------------------------------------------- */

/* A feature as it is put together: its kind, and what it is about, each after a blank. */
struct feature {
    char text[4 * TRUECASE_WORD_BYTES];
    size_t bytes;
};

struct features {
    const struct truecaser *t;
    const struct truecase_word *word;
    char memory[2]; /* how often it was seen with a capital, and without: 0, 1, or 2 for more */
    truecase_feature_function *function;
    void *context;
};

/* `parts` are letters: G the gap, W the word, L the last word, B the one before, M the memory,
 * N what is next, O what was before the quote that was opened last. */
static void feature(const struct features *f, char kind, const char *parts) {
    const struct truecaser *t = f->t;
    struct feature feature = {.text = {kind}, .bytes = 1};
    for (; *parts; parts++) {
        const char *text = *parts == 'G'   ? f->word->gap
                           : *parts == 'W' ? f->word->key
                           : *parts == 'L' ? t->last[0]
                           : *parts == 'B' ? t->last[1]
                           : *parts == 'M' ? f->memory
                           : *parts == 'N' ? &f->word->next
                                           : &t->opened;
        int bytes = *parts == 'G'   ? f->word->gap_count
                    : *parts == 'W' ? f->word->key_bytes
                    : *parts == 'L' ? t->last_bytes[0]
                    : *parts == 'B' ? t->last_bytes[1]
                    : *parts == 'M' ? 2
                                    : 1;
        feature.text[feature.bytes++] = ' ';
        memcpy(feature.text + feature.bytes, text, (size_t)bytes);
        feature.bytes += (size_t)bytes;
    }
    f->function(f->context, feature.text, feature.bytes);
}

/* Inside a sentence: the neighbors. Of words that a capital stands before (Mr. Bear), and of those
 * with one before that (Mom and Dad). */
static void plain_features(const struct features *f) {
    feature(f, 'b', "LW");
    feature(f, 't', "BL");
    if (f->t->last_capital)
        feature(f, 'd', "W");
    if (f->t->capital_before) {
        feature(f, 'e', "L");
        feature(f, 'f', "LW");
    }
}

void truecase_features(const struct truecaser *t, const struct truecase_word *word,
                       truecase_feature_function *function, void *context) {
    struct truecase_seen seen = look_up(t, word);
    struct features f = {t, word,
                         {(char)('0' + (seen.capital > 2 ? 2 : seen.capital)),
                          (char)('0' + (seen.lower > 2 ? 2 : seen.lower))},
                         function, context};
    bool plain = word->gap_count == 1 && *word->gap == GAP_BLANK;
    feature(&f, 'w', "W");
    feature(&f, 'g', "G");
    feature(&f, 'l', "GL");
    feature(&f, 'm', "MG");
    feature(&f, t->last_capital ? 'C' : 'c', "G");
    if (plain)
        plain_features(&f);
    else
        feature(&f, 'h', "GW");
    if (word->next != GAP_BLANK)
        feature(&f, 'n', "NW");
    if (seen.capital || seen.lower)
        feature(&f, 'k', "MW");
    if (has(word->gap, word->gap_count, ">")) {
        feature(&f, 'q', "OG");
        feature(&f, 'r', "OGW");
    }
    if (!word->known) {
        feature(&f, 'v', "N");
        feature(&f, 'x', "G");
        feature(&f, 'y', "GL");
        feature(&f, 'z', "MG");
    }
}

/* ---- words ----------------------------------------------------------------------- */

struct score {
    const struct truecase_table *table;
    long sum;
};

static void add_weight(void *context, const char *feature, size_t bytes) {
    struct score *score = context;
    score->sum += truecase_table_weight(score->table, feature, bytes);
}

/* The word without its apostrophe at the end, or its 's, in lower case; its bytes stay as many, but
 * for an apostrophe that is not straight. */
static int write_key(const char *written, int bytes, char key[TRUECASE_WORD_BYTES]) {
    int count = 0;
    for (int i = 0; i < bytes; i++) {
        bool curly = bytes - i >= 3 && memcmp(written + i, "’", 3) == 0;
        key[count++] = curly ? '\'' : written[i];
        i += curly ? 2 : 0;
    }
    letters_lower(key, (size_t)count);
    if (count > 2 && key[count - 2] == '\'' && key[count - 1] == 's')
        count -= 2;
    return count;
}

enum truecase_form truecase_form(const char *written, int bytes) {
    int upper = 0, characters = 0;
    for (int i = 0; i < bytes; i += (int)utf8_promised((unsigned char)written[i])) {
        upper += letters_is_upper(written + i, (size_t)(bytes - i));
        characters++;
    }
    if (upper == 0 || !letters_is_upper(written, (size_t)bytes))
        return TRUECASE_LOWER;
    return upper == characters && characters > 1 ? TRUECASE_SHOUTED : TRUECASE_CAPITAL;
}

/* Gives the word that is held, of which nothing is given yet, its capital. */
static void raise(struct truecaser *t, const struct truecase_word *word) {
    const char *form = truecase_table_form(t->table, word->key, word->key_bytes);
    if (form && letters_match(t->held, word->key, (size_t)word->key_bytes))
        memcpy(t->held, form, (size_t)word->key_bytes);
    else
        letters_raise(t->held, (size_t)t->held_bytes);
}

/* Remembers what the next words are decided by. */
static void note(struct truecaser *t, const struct truecase_word *word, enum truecase_form form) {
    bool capital = form != TRUECASE_LOWER;
    if (has(word->gap, word->gap_count, ">"))
        t->said = !capital || has(word->gap, word->gap_count, ",");
    if (form != TRUECASE_SHOUTED && truecase_inside_sentence(word))
        remember(t, word, capital);
    memcpy(t->last[1], t->last[0], sizeof t->last[0]);
    t->last_bytes[1] = t->last_bytes[0];
    memcpy(t->last[0], word->key, (size_t)word->key_bytes);
    t->last_bytes[0] = word->key_bytes;
    t->capital_before = t->last_capital;
    t->last_capital = capital;
    t->gap_count = 0;
}

/* The first `bytes` that are held are a word; `next` follows. */
static void end_word(struct truecaser *t, int bytes, char next) {
    char key[TRUECASE_WORD_BYTES], gap[TRUECASE_GAP_CHARACTERS];
    struct truecase_word word = {.key = key, .gap = gap, .next = next};
    word.gap_count = write_gap(t, gap);
    word.key_bytes = write_key(t->held, bytes, key);
    word.known = t->table && truecase_table_knows(t->table, key, word.key_bytes);
    if (t->on_word)
        t->on_word(t->context, t, &word, t->held);
    enum truecase_form form = truecase_form(t->held, bytes);
    if (form == TRUECASE_LOWER && t->table) {
        struct score score = {t->table, 0};
        truecase_features(t, &word, add_weight, &score);
        if (score.sum > 0) {
            form = TRUECASE_CAPITAL;
            if (t->given == 0)
                raise(t, &word);
        }
    }
    note(t, &word, form);
}

/* ---- the stream ------------------------------------------------------------------ */

/* Gives out the first `bytes` that are held; without `out` they are in the text already. */
static void give(struct truecaser *t, int bytes, struct buffer *out) {
    if (out && bytes > t->given)
        buffer_append(out, t->held + t->given, (size_t)(bytes - t->given));
    t->given = t->given > bytes ? t->given - bytes : 0;
    t->held_bytes -= bytes;
    t->whole -= bytes;
    memmove(t->held, t->held + bytes, (size_t)t->held_bytes);
}

/* Bytes of the apostrophe that the held word ends in, if it does. */
static int ends_in_apostrophe(const struct truecaser *t) {
    if (t->whole > 1 && t->held[t->whole - 1] == '\'')
        return 1;
    return t->whole > 3 && begins_with(t->held + t->whole - 3, 3, "’") ? 3 : 0;
}

/* Ends the word that is held, if there is one; an apostrophe at its end is a quote instead. */
static void settle_word(struct truecaser *t, char next, struct buffer *out) {
    if (t->whole > 0) { /* what is too long has been given */
        int quote = ends_in_apostrophe(t);
        int length = t->whole - quote;
        end_word(t, length, quote ? '\'' : next);
        give(t, length, out);
        if (quote) {
            add_to_gap(t, gap_symbol(t->held, (size_t)quote));
            give(t, quote, out);
        }
    }
    t->too_long = false;
}

/* The next character, behind the word, is whole now. */
static void take_character(struct truecaser *t, int length, struct buffer *out) {
    const char *character = t->held + t->whole;
    enum part part = part_of(character, (size_t)length);
    bool in_word = part == PART_LETTER || (part == PART_APOSTROPHE && t->too_long) ||
                   (part == PART_APOSTROPHE && t->whole > 0 && !ends_in_apostrophe(t));
    if (in_word) {
        t->whole += length;
        if (t->whole > TRUECASE_WORD_BYTES) {
            t->too_long = true;
            t->gap_count = t->last_bytes[0] = t->last_bytes[1] = 0;
            t->last_capital = false;
        }
        if (t->too_long)
            give(t, t->whole, out);
        return;
    }
    char symbol = gap_symbol(character, (size_t)length);
    settle_word(t, symbol, out);
    add_to_gap(t, symbol);
    t->whole = length;
    give(t, length, out);
}

static void take_bytes(struct truecaser *t, const char *text, size_t bytes, struct buffer *out) {
    for (size_t i = 0; i < bytes; i++) {
        t->held[t->held_bytes++] = text[i];
        while (t->held_bytes > t->whole) {
            const char *character = t->held + t->whole;
            size_t rest = (size_t)(t->held_bytes - t->whole);
            if (utf8_unfinished(character, rest))
                break;
            size_t length = utf8_length(character, rest);
            take_character(t, length ? (int)length : 1, out);
        }
    }
}

static void take_end(struct truecaser *t, struct buffer *out) {
    while (t->held_bytes > t->whole) /* of a character whose end is missing */
        take_character(t, 1, out);
    settle_word(t, GAP_START, out);
}

void truecaser_start(struct truecaser *t, const struct truecase_table *table) {
    *t = (struct truecaser){.table = table, .opened = GAP_START};
    add_to_gap(t, GAP_START);
}

void truecaser_read(struct truecaser *t, const char *text, size_t bytes) {
    take_bytes(t, text, bytes, NULL);
    t->given = t->held_bytes;
}

static enum status check(const struct buffer *out, struct error *err) {
    return out->failed ? error_set(err, STATUS_NO_MEMORY, "no memory for a text") : STATUS_OK;
}

enum status truecaser_push(struct truecaser *t, const char *text, size_t bytes,
                           struct buffer *out, struct error *err) {
    take_bytes(t, text, bytes, out);
    return check(out, err);
}

enum status truecaser_finish(struct truecaser *t, struct buffer *out, struct error *err) {
    take_end(t, out);
    return check(out, err);
}

void truecaser_observe(const char *text, size_t bytes, truecase_word_function *function,
                       void *context) {
    struct truecaser t;
    truecaser_start(&t, NULL);
    t.on_word = function;
    t.context = context;
    take_bytes(&t, text, bytes, NULL);
    take_end(&t, NULL);
}
