/* alpaca-bench serve: N clients at a server, each asking for one story after another. With --model
 * at one of its own, whose rate is then compared with that of the engine alone. */
#include "bench/bench.h"

#include "base/flags.h"
#include "bench/crowd.h"
#include "bench/load.h"
#include "bench/server_process.h"
#include "tell/storyteller.h"

#include <stdio.h>
#include <stdlib.h>

struct serve_options {
    const char *model, *host;
    int port, clients, requests, tokens;
    double temperature;
    bool stream, keep_alive;
};

#define AT(member) offsetof(struct serve_options, member)
static const struct flag flags[] = {
    {"model", FLAG_TEXT, AT(model), NULL, 0, 0, "FOLDER",
     "start a server of this model, compare it with the engine alone, and stop it"},
    {"host", FLAG_TEXT, AT(host), "127.0.0.1", 0, 0, "ADDRESS",
     "IPv4 address of a running server"},
    {"port", FLAG_INT, AT(port), "8080", 1, 65535, "PORT", "port of a running server"},
    {"clients", FLAG_INT, AT(clients), "32", 1, 1024, "", "stories asked for at the same time"},
    {"requests", FLAG_INT, AT(requests), "256", 1, 1e8, "", "stories in all"},
    {"tokens", FLAG_INT, AT(tokens), "200", 1, 60000, "tokens", "of each story at most"},
    {"temperature", FLAG_REAL, AT(temperature), "0.7", 0, 2, "", "of every story"},
    {"stream", FLAG_SWITCH, AT(stream), "on", 0, 0, "", "ask for the story as it is told"},
    {"keep-alive", FLAG_SWITCH, AT(keep_alive), "on", 0, 0, "",
     "leave connections open from story to story"},
};
static const struct flag_table table = {
    .usage = "alpaca-bench serve [options]",
    .summary = "Stories and tokens per second over HTTP, the time to the first piece and the times\n"
               "between pieces as the clients see them.",
    .flags = flags,
    .count = sizeof flags / sizeof *flags,
};

static void print_times(const char *name, struct times *times) {
    printf("  %-14s p50 %8.2f ms, p99 %8.2f ms\n", name, times_percentile(times, 0.5) * 1e3,
           times_percentile(times, 0.99) * 1e3);
}

static enum status run_crowd(const struct serve_options *o, int port, double *tokens_per_s,
                             struct error *err) {
    struct crowd crowd = {.host = o->host,
                          .port = port,
                          .clients = o->clients,
                          .stories = o->requests,
                          .tokens = o->tokens,
                          .temperature = o->temperature,
                          .stream = o->stream,
                          .keep_alive = o->keep_alive};
    struct crowd_result result;
    enum status status = crowd_run(&crowd, &result, err);
    if (status != STATUS_OK)
        return status;
    *tokens_per_s = (double)result.tokens / result.seconds;
    printf("%d clients, %d %s, %d failed, %.2f s\n", o->clients, result.answered,
           o->stream ? "streams" : "stories", result.failed, result.seconds);
    printf("  %.0f tokens/s, %.1f stories/s, %.0f tokens a story\n", *tokens_per_s,
           result.answered / result.seconds,
           result.answered ? (double)result.tokens / result.answered : 0.0);
    print_times("whole story", &result.whole);
    if (o->stream) {
        print_times("first piece", &result.first);
        print_times("between pieces", &result.between);
        printf("  %.1f tokens a piece\n",
               result.pieces ? (double)result.tokens / (double)result.pieces : 0.0);
    }
    fflush(stdout);
    crowd_result_free(&result);
    return STATUS_OK;
}

/* ---- the engine alone ------------------------------------------------------- */

/* The prompts that the clients send, as tokens. */
static enum status read_prompts(const struct storyteller *teller, int count,
                                struct token_list *prompts, struct error *err) {
    for (int i = 0; i < count; i++) {
        struct buffer text = {0};
        crowd_write_prompt(&text, i);
        enum status status =
            text.failed ? error_set(err, STATUS_NO_MEMORY, "no memory for the prompts")
                        : storyteller_read_prompt(teller, text.data, text.size, false, &prompts[i],
                                                  err);
        buffer_free(&text);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static int slots_for(const struct serve_options *o) {
    return o->clients > 32 ? o->clients : 32; /* a server has at least its default */
}

/* The same stories at the same time, without HTTP. */
static enum status run_engine(const struct serve_options *o, double *tokens_per_s,
                              struct error *err) {
    struct scheduler_options options = {.slots = slots_for(o), .queue = 256, .prompt_rows = 64};
    struct storyteller teller = {0};
    struct load_result result;
    struct token_list *prompts = calloc((size_t)o->requests, sizeof *prompts);
    enum status status = prompts ? storyteller_open(&teller, o->model, "int8", &options, err)
                                 : error_set(err, STATUS_NO_MEMORY, "no memory for the prompts");
    if (status == STATUS_OK)
        status = read_prompts(&teller, o->requests, prompts, err);
    if (status == STATUS_OK) {
        struct load load = {.streams = o->clients < o->requests ? o->clients : o->requests,
                            .stories = o->requests,
                            .prompts = prompts,
                            .new_tokens = o->tokens,
                            .temperature = (float)o->temperature};
        status = load_run(teller.scheduler, &load, &result, err);
    }
    if (status == STATUS_OK) {
        *tokens_per_s = (double)result.tokens / result.seconds;
        printf("  engine alone: %.0f tokens/s\n", *tokens_per_s);
        fflush(stdout);
    }
    for (int i = 0; prompts && i < o->requests; i++)
        token_list_free(&prompts[i]);
    free(prompts);
    storyteller_close(&teller);
    return status;
}

/* ---- one's own server --------------------------------------------------------- */

/* The engine before and after: a machine that others use is not the same all the time. The server
 * starts first, as a child's peak memory cannot be below its parent's when it began. */
static enum status compare(const struct serve_options *o, struct error *err) {
    struct server_process server;
    double before = 0, served = 0, after = 0;
    enum status status = server_start(&server, o->model, slots_for(o), err);
    if (status != STATUS_OK)
        return status;
    printf("server of %s ready after %.0f ms\n", o->model, server.ready_s * 1e3);
    status = run_engine(o, &before, err);
    if (status == STATUS_OK)
        status = run_crowd(o, server.port, &served, err);
    if (status == STATUS_OK)
        status = run_engine(o, &after, err);
    struct server_usage usage = server_stop(&server);
    if (status == STATUS_OK)
        printf("  %.1f %% of the engine's own rate; at most %.0f MB resident\n",
               100 * served / ((before + after) / 2), usage.peak_mb);
    return status;
}

static enum status run(const void *options_of_command, struct error *err) {
    const struct serve_options *o = options_of_command;
    double tokens_per_s;
    return o->model ? compare(o, err) : run_crowd(o, o->port, &tokens_per_s, err);
}

int bench_serve(int argc, char **argv) {
    struct serve_options options;
    return bench_command("serve", &table, &options, argc, argv, run);
}
