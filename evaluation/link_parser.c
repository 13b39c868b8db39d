#include "evaluation/link_parser.h"

#include "base/file.h"
#include "base/rng.h"
#include "evaluation/sentences.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define PROGRAM "link-parser"

bool link_parser_is_here(void) {
    const char *path = getenv("PATH");
    char file[FILE_PATH_BYTES];
    while (path && *path) {
        size_t length = strcspn(path, ":");
        int size = snprintf(file, sizeof file, "%.*s/" PROGRAM, (int)length, path);
        if (length > 0 && size > 0 && (size_t)size < sizeof file && access(file, X_OK) == 0)
            return true;
        path += length + (path[length] == ':');
    }
    return false;
}

/* ---- the sample ------------------------------------------------------------- */

struct lines {
    struct buffer text; /* line after line */
    size_t *begins;     /* [count + 1] where each does in the text */
    size_t count, capacity;
};

static enum status no_memory(struct error *err) {
    return error_set(err, STATUS_NO_MEMORY, "no memory for sentences");
}

static bool has_capital(const struct training_words *words, struct word word) {
    return word_is(word, "i") || word_is(word, "mr") || word_is(word, "mrs") ||
           training_words_is_name(words, word);
}

/* Whether another sentence goes on behind a mark inside of this one. */
static bool has_several(const char *sentence, size_t bytes) {
    for (size_t i = 0; i + 1 < bytes; i++)
        if (strchr(".!?", sentence[i]) && sentence[i + 1] == ' ')
            return true;
    return false;
}

static bool can_be_asked(const char *sentence, size_t bytes) {
    size_t end = bytes, words = word_count(sentence, bytes), quotes = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (sentence[i] < 0x20 || sentence[i] > 0x7E)
            return false;
        quotes += sentence[i] == '"';
    }
    while (end > 0 && strchr("\"')", sentence[end - 1]))
        end--;
    /* Lines that begin with some other characters are commands to the parser. */
    return end > 0 && strchr(".!?", sentence[end - 1]) && quotes % 2 == 0 &&
           words >= LINK_MIN_WORDS && words <= LINK_MAX_WORDS &&
           isalpha((unsigned char)sentence[*sentence == '"']) && !has_several(sentence, bytes);
}

static void append_line(struct buffer *text, const struct training_words *words,
                        const char *sentence, size_t bytes) {
    const char *from = sentence, *end = sentence + bytes;
    struct word word;
    for (bool first = true; word_next(&from, &word) && word.text < end; first = false) {
        buffer_append(text, sentence, (size_t)(word.text - sentence));
        char letter = *word.text;
        if (first || has_capital(words, word))
            letter = (char)toupper((unsigned char)letter);
        buffer_append(text, &letter, 1);
        buffer_append(text, word.text + 1, word.bytes - 1);
        sentence = word.text + word.bytes;
    }
    buffer_append(text, sentence, (size_t)(end - sentence));
    buffer_append(text, "\n", 1);
}

static enum status add_sentence(struct lines *lines, const struct training_words *words,
                                const char *sentence, size_t bytes, struct error *err) {
    if (lines->count + 1 >= lines->capacity) {
        size_t capacity = lines->capacity ? 2 * lines->capacity : 1024;
        size_t *begins = realloc(lines->begins, capacity * sizeof *begins);
        if (!begins)
            return no_memory(err);
        lines->begins = begins;
        lines->capacity = capacity;
    }
    lines->begins[lines->count++] = lines->text.size;
    append_line(&lines->text, words, sentence, bytes);
    lines->begins[lines->count] = lines->text.size;
    return lines->text.failed ? no_memory(err) : STATUS_OK;
}

static enum status add_sentences(struct lines *lines, const struct training_words *words,
                                 const char *story, struct error *err) {
    enum status status = STATUS_OK;
    for (size_t bytes; *story && status == STATUS_OK; story += bytes) {
        story += strspn(story, " ");
        bytes = sentence_length(story, false);
        if (can_be_asked(story, bytes))
            status = add_sentence(lines, words, story, bytes, err);
    }
    return status;
}

/* Appends as many lines as LINK_SENTENCES, in an order drawn by `seed`. */
static enum status draw(const struct lines *all, uint64_t seed, struct buffer *lines, size_t *count,
                        struct error *err) {
    int32_t *order = malloc((all->count + 1) * sizeof *order);
    if (!order)
        return no_memory(err);
    for (size_t i = 0; i < all->count; i++)
        order[i] = (int32_t)i;
    rng_shuffle(seed, order, all->count);
    *count = all->count < LINK_SENTENCES ? all->count : LINK_SENTENCES;
    for (size_t i = 0; i < *count; i++) {
        size_t begin = all->begins[order[i]], end = all->begins[order[i] + 1];
        buffer_append(lines, all->text.data + begin, end - begin);
    }
    free(order);
    return lines->failed ? no_memory(err) : STATUS_OK;
}

enum status link_parser_sample(const struct texture_stories *stories,
                               const struct training_words *words, uint64_t seed,
                               struct buffer *lines, size_t *count, struct error *err) {
    struct lines all = {0};
    enum status status = STATUS_OK;
    *count = 0;
    for (size_t i = 0; i < stories->count && status == STATUS_OK; i++)
        status = add_sentences(&all, words, stories->texts[i], err);
    if (status == STATUS_OK)
        status = draw(&all, seed, lines, count, err);
    buffer_free(&all.text);
    free(all.begins);
    return status;
}

/* ---- asking ----------------------------------------------------------------- */

static enum status run_program(FILE *input, FILE *output, struct error *err) {
    static char name[] = PROGRAM, language[] = "en", summary[] = "-verbosity=1",
                picture[] = "-graphics=0", whole[] = "-null=0", spelling[] = "-spell=0";
    char *const argv[] = {name, language, summary, picture, whole, spelling, NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int state = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fileno(input), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fileno(output), STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    int code = posix_spawnp(&child, name, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (code != 0)
        return error_set(err, STATUS_IO, "cannot run " PROGRAM ": %s", strerror(code));
    while (waitpid(child, &state, 0) < 0 && errno == EINTR)
        continue;
    if (!WIFEXITED(state) || WEXITSTATUS(state) != 0)
        return error_set(err, STATUS_IO, PROGRAM " failed (exit status %d, signal %d)",
                         WIFEXITED(state) ? WEXITSTATUS(state) : 0,
                         WIFSIGNALED(state) ? WTERMSIG(state) : 0);
    return STATUS_OK;
}

/* Of each sentence the program says either "Found N linkages (M had no P.P. violations)", also
 * "(M of 1000 random linkages had ...)", or "No complete linkages found." */
static enum status read_answers(FILE *output, size_t count, size_t *parsed, struct error *err) {
    char line[4096];
    size_t answers = 0;
    *parsed = 0;
    rewind(output);
    while (fgets(line, sizeof line, output)) {
        const char *valid = strchr(line, '(');
        bool found = strncmp(line, "Found ", 6) == 0 && valid;
        answers += found || strncmp(line, "No complete linkages found", 26) == 0;
        *parsed += found && strtol(valid + 1, NULL, 10) > 0;
    }
    if (answers != count)
        return error_set(err, STATUS_IO, PROGRAM " gave %zu answers for %zu sentences", answers,
                         count);
    return STATUS_OK;
}

enum status link_parser_run(const struct buffer *lines, size_t count, size_t *parsed,
                            struct error *err) {
    FILE *input = tmpfile(), *output = tmpfile();
    enum status status = STATUS_OK;
    if (!input || !output || fwrite(lines->data, 1, lines->size, input) != lines->size ||
        fflush(input) != 0)
        status = error_set_errno(err, "cannot write sentences for " PROGRAM);
    if (status == STATUS_OK) {
        rewind(input);
        status = run_program(input, output, err);
    }
    if (status == STATUS_OK)
        status = read_answers(output, count, parsed, err);
    if (input)
        fclose(input);
    if (output)
        fclose(output);
    return status;
}
