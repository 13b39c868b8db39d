/* alpaca-tokenizer - a tokenizer on the command line: lines in, lines out. */
#include "base/file.h"
#include "base/flags.h"
#include "base/program.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer/truecase.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *model;
};

static const struct flag flags[] = {
    {"model", FLAG_TEXT, offsetof(struct options, model), NULL, 0, 0, "FILE|FOLDER",
     "the SentencePiece model; for truecase, a model folder"},
};

static const struct flag_table table = {
    "alpaca-tokenizer encode|decode|info|truecase --model FILE|FOLDER",
    "encode    reads a text a line and writes its ids, separated by spaces\n"
    "decode    reads ids a line and writes their text\n"
    "info      writes the vocabulary's size and the ids of the special pieces\n"
    "truecase  reads a text in lower case a line and writes it with capitals, by the table of the\n"
    "          model folder or, where that has none, those of sentences and \"I\"",
    flags,
    sizeof flags / sizeof *flags,
    NULL,
    1,
};

/* What lines are read with; a command needs one of them. */
struct tools {
    struct tokenizer *tokenizer;
    struct truecase_table *capitals;
};

/* What one line of input becomes; reused from line to line. */
struct line {
    struct token_list ids;
    struct buffer text;
};

static bool append_id(struct buffer *text, int32_t id) {
    char digits[12];
    char *at = digits + sizeof digits;
    uint32_t rest = (uint32_t)id; /* ids are never negative */
    *--at = ' ';
    do
        *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    return buffer_append(text, at, (size_t)(digits + sizeof digits - at));
}

static enum status encode_line(const struct tools *tools, const char *input, size_t bytes,
                               struct line *line, struct error *err) {
    enum status status = tokenizer_encode(tools->tokenizer, input, bytes, &line->ids, err);
    for (size_t i = 0; i < line->ids.count && status == STATUS_OK; i++)
        if (!append_id(&line->text, line->ids.ids[i]))
            return error_set(err, STATUS_NO_MEMORY, "no memory for the ids");
    if (line->text.size)
        line->text.size--; /* the last space */
    return status;
}

static enum status read_id(const char *field, size_t length, int32_t *id, struct error *err) {
    char *end;
    errno = 0;
    long number = strtol(field, &end, 10);
    if (end != field + length || errno || number < INT32_MIN || number > INT32_MAX)
        return error_set(err, STATUS_INVALID, "\"%.*s\" is not an id",
                         (int)(length < 40 ? length : 40), field);
    *id = (int32_t)number;
    return STATUS_OK;
}

/* `input` has a NUL at its end. */
static enum status decode_line(const struct tools *tools, const char *input, size_t bytes,
                               struct line *line, struct error *err) {
    const char *at = input, *end = input + bytes;
    if (at < end && end[-1] == '\r')
        end--;
    while (at < end) {
        if (*at == ' ') {
            at++;
            continue;
        }
        const char *space = memchr(at, ' ', (size_t)(end - at));
        const char *stop = space ? space : end;
        int32_t id = 0;
        enum status status = read_id(at, (size_t)(stop - at), &id, err);
        if (status != STATUS_OK)
            return status;
        if (!token_list_append(&line->ids, id))
            return error_set(err, STATUS_NO_MEMORY, "no memory for the ids");
        at = stop;
    }
    return tokenizer_decode(tools->tokenizer, line->ids.ids, line->ids.count, &line->text, err);
}

/* Each line is a text of its own. */
static enum status truecase_line(const struct tools *tools, const char *input, size_t bytes,
                                 struct line *line, struct error *err) {
    struct truecaser truecaser;
    truecaser_start(&truecaser, tools->capitals);
    enum status status = truecaser_push(&truecaser, input, bytes, &line->text, err);
    return status == STATUS_OK ? truecaser_finish(&truecaser, &line->text, err) : status;
}

typedef enum status line_function(const struct tools *tools, const char *input, size_t bytes,
                                  struct line *line, struct error *err);

static enum status each_line(const struct tools *tools, line_function *function,
                             struct error *err) {
    struct line line = {0};
    enum status status = STATUS_OK;
    char *input = NULL;
    size_t capacity = 0, number = 0;
    ssize_t got;
    while (status == STATUS_OK && (got = getline(&input, &capacity, stdin)) >= 0) {
        size_t bytes = (size_t)got;
        if (bytes && input[bytes - 1] == '\n')
            input[--bytes] = '\0';
        number++;
        line.ids.count = 0;
        buffer_clear(&line.text);
        struct error cause;
        status = function(tools, input, bytes, &line, &cause);
        if (status != STATUS_OK)
            error_set(err, status, "line %zu: %s", number, cause.message);
        else if (!buffer_append(&line.text, "\n", 1))
            status = error_set(err, STATUS_NO_MEMORY, "no memory for line %zu", number);
        else if (fwrite(line.text.data, 1, line.text.size, stdout) != line.text.size)
            status = error_set_errno(err, "cannot write to standard output");
    }
    if (status == STATUS_OK && ferror(stdin))
        status = error_set_errno(err, "cannot read");
    free(input);
    token_list_free(&line.ids);
    buffer_free(&line.text);
    return status;
}

static enum status print_info(const struct tokenizer *tokenizer) {
    struct tokenizer_specials specials = tokenizer_specials(tokenizer);
    printf("pieces %zu\nunk %d\nbos %d\neos %d\npad %d\n", tokenizer_vocab_size(tokenizer),
           (int)specials.unk, (int)specials.bos, (int)specials.eos, (int)specials.pad);
    return STATUS_OK;
}

static enum status load_capitals(struct tools *tools, const char *folder, struct error *err) {
    char path[FILE_PATH_BYTES];
    enum status status = file_join(path, folder, "tokenizer.model", err);
    if (status == STATUS_OK && !file_exists(path))
        status = error_set_field(err, STATUS_INVALID, "model",
                                 "--model must be a model folder, and there is no %s", path);
    if (status == STATUS_OK)
        status = file_join(path, folder, TRUECASE_FILE, err);
    if (status == STATUS_OK)
        status = truecase_table_load(&tools->capitals, path, err);
    return status;
}

static enum status run(const char *command, const char *model, struct tools *tools,
                       struct error *err) {
    static const struct {
        const char *name;
        line_function *function; /* NULL: info */
    } commands[] = {{"encode", encode_line}, {"decode", decode_line}, {"info", NULL}};
    if (strcmp(command, "truecase") == 0) {
        enum status status = flags_used("model", load_capitals(tools, model, err), err);
        return status == STATUS_OK ? each_line(tools, truecase_line, err) : status;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(command, commands[i].name) != 0)
            continue;
        enum status status =
            flags_used("model", tokenizer_load(&tools->tokenizer, model, err), err);
        if (status != STATUS_OK)
            return status;
        return commands[i].function ? each_line(tools, commands[i].function, err)
                                    : print_info(tools->tokenizer);
    }
    return error_set(err, STATUS_INVALID, "unknown command \"%s\"; see --help", command);
}

int main(int argc, char **argv) {
    struct options options;
    struct error err = {0};
    struct tools tools = {0};
    int commands = argc - 1;
    bool help_shown = false;
    program_start();
    enum status status =
        flags_parse(&table, &options, &commands, argv + 1, &help_shown, &err);
    if (help_shown)
        goto cleanup;
    if (status == STATUS_OK && commands == 0)
        status = error_set(&err, STATUS_INVALID,
                           "say encode, decode, info or truecase; see --help");
    if (status == STATUS_OK && !options.model)
        status = error_set(&err, STATUS_INVALID, "--model is missing; see --help");
    if (status == STATUS_OK)
        status = run(argv[1], options.model, &tools, &err);
cleanup:
    truecase_table_free(tools.capitals);
    tokenizer_free(tools.tokenizer);
    if (status != STATUS_OK)
        fprintf(stderr, "alpaca-tokenizer: %s\n", err.message);
    return program_end("alpaca-tokenizer",
                       status == STATUS_OK ? 0 : status == STATUS_INVALID ? 2 : 1);
}
