/* alpaca-bench engine --draft: the same stories with proposals of a draft model and without, in
 * turns, so that whatever else the machine does meets both. */
#include "bench/bench.h"
#include "bench/load.h"
#include "bench/load_generator.h"
#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>

enum { STORIES_A_STREAM = 2 };

/* The engine's scheduler proposes, `without` does not; both run the engine's model. */
struct sides {
    struct engine engine;
    struct scheduler *without;
    struct token_list *prompts; /* [stories] */
    int stories;
};

static enum status read_prompts(struct sides *sides, struct error *err) {
    sides->prompts = calloc((size_t)sides->stories, sizeof *sides->prompts);
    if (!sides->prompts)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the prompts");
    for (int i = 0; i < sides->stories; i++) {
        struct buffer text = {0};
        load_generator_write_prompt(&text, i);
        enum status status = text.failed
                                 ? error_set(err, STATUS_NO_MEMORY, "no memory for the prompts")
                                 : engine_read_prompt(&sides->engine, text.data, text.size, false,
                                                      &sides->prompts[i], err);
        buffer_free(&text);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static void close_sides(struct sides *sides) {
    for (int i = 0; sides->prompts && i < sides->stories; i++)
        token_list_free(&sides->prompts[i]);
    free(sides->prompts);
    scheduler_destroy(sides->without);
    engine_close(&sides->engine);
}

static enum status open_sides(struct sides *sides, const struct bench_drafts *b, int streams,
                              struct error *err) {
    struct scheduler_options options = {.slots = streams,
                                        .queue = streams,
                                        .threads = b->threads,
                                        .prefill_chunk = b->prefill_chunk,
                                        .draft_choice = b->draft,
                                        .draft_tokens = b->draft_tokens};
    *sides = (struct sides){.stories = streams * STORIES_A_STREAM};
    enum status status = flags_used(
        "model", engine_open(&sides->engine, b->model, "int8", &options, err), err);
    if (status == STATUS_OK && !sides->engine.draft)
        status = error_set_field(err, STATUS_NOT_FOUND, "draft", "there is no draft for %s",
                                 sides->engine.folder);
    if (status == STATUS_OK)
        status = scheduler_create(&sides->without, sides->engine.model, &options, err);
    return status == STATUS_OK ? read_prompts(sides, err) : status;
}

struct total {
    double tokens, seconds;
};

static enum status run_side(struct scheduler *scheduler, const struct sides *sides,
                            const struct bench_drafts *b, uint64_t seed, struct total *total,
                            struct error *err) {
    struct load load = {.streams = sides->stories / STORIES_A_STREAM,
                        .stories = sides->stories,
                        .prompts = sides->prompts,
                        .new_tokens = b->tokens,
                        .temperature = b->temperature,
                        .seed = seed};
    struct load_result result;
    enum status status = load_run(scheduler, &load, &result, err);
    total->tokens += (double)result.tokens;
    total->seconds += result.seconds;
    return status;
}

/* Each turn goes there and back again, so that what changes steadily meanwhile meets both alike. */
static enum status alternate(struct sides *sides, const struct bench_drafts *b, double *with,
                             double *without, struct error *err) {
    enum status status = STATUS_OK;
    for (int i = -1; i < b->repeat && status == STATUS_OK; i++) { /* the first is to warm up */
        struct total totals[2] = {{0}};
        for (int run = 0; run < 4 && status == STATUS_OK; run++) {
            bool drafts = run == 1 || run == 2;
            status = run_side(drafts ? sides->engine.scheduler : sides->without, sides, b,
                              b->seed + (uint64_t)(2 * (i + 1) + run / 2), &totals[drafts], err);
        }
        int place = i < 0 ? 0 : i;
        without[place] = totals[false].tokens / totals[false].seconds;
        with[place] = totals[true].tokens / totals[true].seconds;
    }
    return status;
}

enum status bench_drafts(const struct bench_drafts *b, int streams, struct error *err) {
    struct sides sides;
    double *rates = calloc((size_t)b->repeat * 3, sizeof *rates), *with = rates;
    if (!rates)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the rates");
    double *without = with + b->repeat, *ratios = without + b->repeat;
    enum status status = open_sides(&sides, b, streams, err);
    if (status == STATUS_OK)
        status = alternate(&sides, b, with, without, err);
    if (status == STATUS_OK) {
        for (int i = 0; i < b->repeat; i++)
            ratios[i] = with[i] / without[i];
        struct scheduler_stats stats = scheduler_stats(sides.engine.scheduler);
        struct scheduler_stats plain = scheduler_stats(sides.without);
        printf("%-9d %9.0f %9.0f %7.2f", streams, bench_median(without, b->repeat),
               bench_median(with, b->repeat), bench_median(ratios, b->repeat));
        printf(" %9.2f to %.2f %9.2f %9.2f %9.1f%%\n", ratios[0], ratios[b->repeat - 1],
               (double)stats.proposed / (double)stats.generated_tokens,
               (double)plain.steps / (double)stats.steps,
               stats.proposed ? 100 * (double)stats.accepted / (double)stats.proposed : 0.0);
        fflush(stdout);
    }
    close_sides(&sides);
    free(rates);
    return status;
}

void bench_drafts_header(void) {
    printf("\n%-9s %9s %9s %7s %17s %9s %9s %9s\n", "streams", "without", "with", "ratio",
           "least and most", "proposed", "per step", "accepted");
}
