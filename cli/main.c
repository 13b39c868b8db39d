/* alpaca-tell: a story in the terminal, word by word. */
#include "base/flags.h"
#include "base/program.h"
#include "base/rng.h"
#include "engine/best_of.h"
#include "engine/draft.h"
#include "model/blas.h"
#include "tokenizer/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct options {
    const char *model, *dtype, *draft, *draft_tokens, *stop, *letter_case;
    struct sampling sampling;
    int max_tokens, best_of, threads;
    bool quiet;
};

#define AT(member) offsetof(struct options, member)
static const struct flag rows[] = {
    {"model", FLAG_TEXT, AT(model), NULL, 0, 0, "FOLDER",
     "Model folder; by default the best one in weights/ here or beside the program"},
    {"numeric", FLAG_TEXT, AT(dtype), "int8", 0, 0, "int8|f32",
     "Numbers that the model computes with; f32 is slower and for comparisons"},
    {"draft", FLAG_TEXT, AT(draft), "auto", 0, 0, "FOLDER",
     "Model folder that proposes tokens for the model to check: the same story, sooner; auto takes "
     "a much smaller model beside it, off none"},
    {"draft-tokens", FLAG_TEXT, AT(draft_tokens), "auto", 0, 0, "tokens",
     "Tokens that the draft proposes at a time, 1 to 16; auto: as many as pay"},
    {"temperature", FLAG_FLOAT, AT(sampling.temperature), "0.7", 0, SAMPLING_TEMPERATURE_MAX, "",
     "How daring the words are; at 0 always the likeliest"},
    {"top-k", FLAG_INT, AT(sampling.top_k), "0", 0, SAMPLING_TOP_K_MAX, "tokens",
     "Only the k likeliest tokens; 0 is off"},
    {"top-p", FLAG_FLOAT, AT(sampling.top_p), "1", 0, 1, "",
     "Only the likeliest tokens that together have this probability"},
    {"min-p", FLAG_FLOAT, AT(sampling.min_p), "0", 0, 1, "",
     "Only tokens at least this probable, relative to the likeliest"},
    {"repetition-penalty", FLAG_FLOAT, AT(sampling.repetition_penalty), "1",
     SAMPLING_REPETITION_MIN, SAMPLING_REPETITION_MAX, "",
     "Above 1 makes words that already occurred less likely"},
    {"max-tokens", FLAG_INT, AT(max_tokens), "100000", 1, 100000, "tokens",
     "Length at most; the model may have room for less"},
    {"seed", FLAG_U64, AT(sampling.seed), "0", 0, (double)SAMPLING_SEED_MAX, "",
     "The same seed tells the same story; 0 draws one"},
    {"best-of", FLAG_INT, AT(best_of), "1", 1, BEST_OF_MAX, "stories",
     "Makes up so many and prints the best: whole, likely to the model, without repetitions"},
    {"stop", FLAG_TEXT, AT(stop), NULL, 0, 0, "TEXT", "Ends the story before this text"},
    {"case", FLAG_TEXT, AT(letter_case), "natural", 0, 0, "natural|lower",
     "natural restores capitals; lower is how the model writes"},
    {"threads", FLAG_INT, AT(threads), "0", 0, 1024, "threads",
     "Compute threads; 0 for as many as the process may use"},
    {"quiet", FLAG_SWITCH, AT(quiet), NULL, 0, 0, "",
     "Only the story, without the line that names model and seed"},
};
static const struct flag_table table = {
    "alpaca-tell [options] [beginning of the story...]",
    "Tells a story that goes on from the words given, in the terminal, as it is made up.",
    rows,
    sizeof rows / sizeof *rows,
    "ALPACA_",
    INT_MAX,
};

/* ---- waiting: output of the scheduler and Ctrl-C both put a byte into a pipe ---- */

static int wake_pipe[2];
static volatile sig_atomic_t interrupted;

static void wake(void) {
    ssize_t ignored = write(wake_pipe[1], "", 1); /* a full pipe wakes just as well */
    (void)ignored;
}

static void on_output(void *context, enum finish_reason finish, uint64_t gap_ns) {
    (void)context, (void)finish, (void)gap_ns;
    wake();
}

static void on_interrupt(int signal_number) {
    (void)signal_number;
    int code = errno;
    interrupted = 1;
    wake();
    errno = code;
}

static enum status prepare_waiting(struct error *err) {
    struct sigaction action = {.sa_handler = on_interrupt};
    if (pipe(wake_pipe) != 0)
        return error_set_errno(err, "cannot open a pipe");
    fcntl(wake_pipe[1], F_SETFL, O_NONBLOCK);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    return STATUS_OK;
}

static void wait_for_output(void) {
    char bytes[64];
    ssize_t ignored = read(wake_pipe[0], bytes, sizeof bytes); /* a signal ends it too */
    (void)ignored;
}

/* ---- printing: on a terminal, words move to the next line as a whole ---------- */

struct printer {
    int width; /* 0: not a terminal, print as it comes */
    int column;
    struct buffer word; /* what may not be a whole word yet */
};

static int terminal_width(void) {
    struct winsize size;
    if (!isatty(STDOUT_FILENO))
        return 0;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20 ? size.ws_col : 80;
}

/* A word with the white space before it. */
static void print_word(struct printer *printer) {
    const char *word = printer->word.data;
    size_t bytes = printer->word.size;
    int columns = (int)utf8_count(word, bytes);
    if (bytes > 0 && printer->column > 0 && printer->column + columns > printer->width &&
        *word == ' ') {
        putchar('\n');
        printer->column = 0;
        word++, bytes--, columns--;
    }
    fwrite(word, 1, bytes, stdout);
    printer->column = bytes > 0 && word[bytes - 1] == '\n' ? 0 : printer->column + columns;
    buffer_clear(&printer->word);
}

static enum status print_text(struct printer *printer, const char *text, size_t bytes,
                              struct error *err) {
    if (!printer->width) {
        fwrite(text, 1, bytes, stdout);
    } else {
        for (size_t i = 0; i < bytes; i++) {
            if (strchr(" \n", text[i]) && printer->word.size > 0)
                print_word(printer);
            buffer_append(&printer->word, &text[i], 1);
        }
    }
    return fflush(stdout) == 0 ? STATUS_OK
                               : error_set_errno(err, "cannot write to standard output");
}

static void print_end(struct printer *printer) {
    if (printer->word.size > 0)
        print_word(printer);
    buffer_free(&printer->word);
    putchar('\n');
    fflush(stdout);
}

/* ---- the story ----------------------------------------------------------------- */

/* Waits for all candidates; *best stays when the waiting is interrupted. */
static enum status find_best(struct completion *candidates, int count, int *best,
                             struct error *err) {
    double scores[BEST_OF_MAX];
    int ranking[BEST_OF_MAX];
    for (int ended = 0; ended < count && !interrupted;) {
        if (candidates[ended].finish != FINISH_NONE) {
            scores[ended] = best_of_score(&candidates[ended]);
            ended++;
            continue;
        }
        enum status status = completion_advance(&candidates[ended], err);
        if (status != STATUS_OK)
            return status;
        if (candidates[ended].finish == FINISH_NONE)
            wait_for_output();
    }
    if (interrupted)
        return STATUS_OK;
    best_of_rank(scores, count, ranking);
    *best = ranking[0];
    return STATUS_OK;
}

static enum status print_story(struct printer *printer, struct completion *completion,
                               struct error *err) {
    size_t printed = 0, bytes;
    enum status status = STATUS_OK;
    while (!interrupted) {
        if (completion->finish == FINISH_NONE)
            status = completion_advance(completion, err);
        const char *text = completion_text(completion, &bytes);
        if (status == STATUS_OK)
            status = print_text(printer, text + printed, bytes - printed, err);
        printed = bytes;
        if (status != STATUS_OK || completion->finish != FINISH_NONE)
            break;
        wait_for_output();
    }
    return status;
}

static enum status tell(struct engine *engine, const struct options *options,
                        const struct buffer *prompt, struct error *err) {
    struct token_list ids = {0};
    struct completion candidates[BEST_OF_MAX] = {{0}};
    struct printer printer = {.width = terminal_width()};
    int count = options->best_of, best = 0;
    struct completion_params params = {
        .request = {.max_tokens = options->max_tokens,
                    .sampling = options->sampling,
                    .logprobs = count > 1,
                    .on_output = on_output},
        .continues = completion_continues(prompt->data, prompt->size),
        .capitals = strcmp(options->letter_case, "natural") == 0,
        .before = prompt->data,
        .before_bytes = prompt->size,
        .stops = {options->stop},
        .stop_count = options->stop && *options->stop ? 1 : 0,
    };
    uint64_t seed = options->sampling.seed;
    seed = seed ? seed : rng_entropy() & SAMPLING_SEED_MAX;
    enum status status = engine_read_prompt(engine, prompt->data, prompt->size, false, &ids, err);
    params.request.prompt = ids.ids;
    params.request.prompt_count = (int)ids.count;
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        params.request.sampling.seed = best_of_seed(seed, i);
        status = completion_start(&candidates[i], engine, &params, err);
    }
    if (status != STATUS_OK)
        goto cleanup;
    status = print_text(&printer, prompt->data, prompt->size, err);
    if (status == STATUS_OK && count > 1)
        status = find_best(candidates, count, &best, err);
    if (status == STATUS_OK)
        status = print_story(&printer, &candidates[best], err);
    print_end(&printer);
    if (!options->quiet)
        fprintf(stderr, "(by %s with --seed %" PRIu64 ")\n", engine->name,
                best_of_seed(seed, best));
cleanup:
    for (int i = 0; i < count; i++)
        completion_free(&candidates[i]);
    token_list_free(&ids);
    return status;
}

static enum status join_words(struct buffer *prompt, char **words, int count, struct error *err) {
    buffer_append_text(prompt, "");
    for (int i = 0; i < count; i++) {
        buffer_append_text(prompt, i ? " " : "");
        buffer_append_text(prompt, words[i]);
    }
    return prompt->failed ? error_set(err, STATUS_NO_MEMORY, "no memory for the prompt")
                          : STATUS_OK;
}

int main(int argc, char **argv) {
    struct options options = {.sampling = sampling_defaults()}; /* no option sets some of it */
    struct engine engine = {0};
    struct buffer prompt = {0};
    struct error err = {0};
    int word_count = argc - 1;
    bool help_shown = false;
    program_start();
    blas_init(argv);
    enum status status =
        flags_parse(&table, &options, &word_count, argv + 1, &help_shown, &err);
    if (status != STATUS_OK || help_shown)
        goto cleanup;
    struct scheduler_options scheduler = {
        .slots = options.best_of,
        .queue = options.best_of,
        .threads = options.threads,
        .prefill_chunk = 256,
        .draft_choice = options.draft};
    if (strcmp(options.letter_case, "natural") != 0 && strcmp(options.letter_case, "lower") != 0)
        status = error_set_field(&err, STATUS_INVALID, "case",
                                 "--case is natural or lower, not \"%s\"", options.letter_case);
    if (status == STATUS_OK)
        status = draft_tokens_parse(options.draft_tokens, &scheduler.draft_tokens, &err);
    if (status == STATUS_OK)
        status = join_words(&prompt, argv + 1, word_count, &err);
    if (status == STATUS_OK)
        status = prepare_waiting(&err);
    if (status == STATUS_OK)
        status = flags_used(
            "model", engine_open(&engine, options.model, options.dtype, &scheduler, &err), &err);
    if (status == STATUS_OK)
        status = tell(&engine, &options, &prompt, &err);
cleanup:
    engine_close(&engine);
    buffer_free(&prompt);
    if (status != STATUS_OK)
        fprintf(stderr, "alpaca-tell: %s\n", err.message);
    return program_end("alpaca-tell", status != STATUS_OK ? EXIT_FAILURE
                                      : interrupted       ? 130
                                                          : EXIT_SUCCESS);
}
