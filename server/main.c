/* alpaca-server starts the engine and the HTTP server, waits for a signal, and stops both again. */
#include "base/flags.h"
#include "base/log.h"
#include "base/program.h"
#include "engine/draft.h"
#include "model/blas.h"
#include "model/kernels/kernels.h"
#include "server/api/json.h"
#include "server/health_check.h"
#include "server/http/daemon.h"
#include "server/options.h"
#include "server/service.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Time to send the answers of stories that were cut off when the scheduler stopped. */
enum { LAST_ANSWERS_MS = 2000 };

/* The handler writes into this pipe, and main reads from it. Blocking the signals and waiting with
 * sigwait() would not do: libraries have started threads before main() that a mask set there does
 * not reach, and a signal that lands on one of them would end the process. */
static int stop_pipe[2];

static void on_stop_signal(int signal_number) {
    int code = errno;
    if (program_hurries(signal_number))
        _exit(128 + signal_number);
    ssize_t ignored = write(stop_pipe[1], "", 1);
    (void)ignored;
    errno = code;
}

static enum status catch_signals(struct error *err) {
    if (pipe(stop_pipe) != 0)
        return error_set_errno(err, "cannot open a pipe");
    program_catch_stops(on_stop_signal);
    return STATUS_OK;
}

static void wait_for_stop_signal(void) {
    struct pollfd readable = {.fd = stop_pipe[0], .events = POLLIN};
    while (poll(&readable, 1, -1) < 1) { /* the signal itself interrupts poll() */
    }
}

static void format_json(struct buffer *line, enum log_level level, const char *message) {
    buffer_append_text(line, "{\"time\":\"");
    log_append_time(line);
    buffer_printf(line, "\",\"level\":\"%s\",\"message\":", log_level_name(level));
    json_append_text(line, message);
    buffer_append_text(line, "}\n");
}

static bool logs_json(const struct options *options) {
    return strcmp(options->log_format, "json") == 0;
}

static void announce(const struct service *service, const char *url) {
    log_info("serving %s from %s at %s", service->engine.name, service->engine.folder, url);
    if (service->engine.draft)
        log_info("drafting with %s", service->engine.draft_folder);
    /* What keeps both outputs of a container as one log gets lines of one form too. */
    if (logs_json(&service->options))
        printf("{\"url\":\"%s\"}\n", url);
    else
        printf("Alpaca tells stories at %s\n\n"
               "  curl %s/generate -d '{\"prompt\": \"once upon a time\"}'\n\n",
               url, url);
    fflush(stdout);
}

/* A reader of the page would see that a seed tells another story in the browser, but not why. */
static void check_packed(const struct service *service) {
    const struct file_map *pack = &service->web.pack;
    const char *name = service->web.pack_name;
    char packed[sizeof service->engine.fingerprint];
    struct error err;
    if (engine_packed_fingerprint(packed, pack->data, pack->size, &err) != STATUS_OK)
        log_warn("--web: browsers cannot use %s: %s", name, err.message);
    else if (strcmp(packed, service->engine.fingerprint) != 0)
        log_warn("--web: %s holds other weights, %s, than the server has, %s: the same seed tells "
                 "other stories in browsers", name, packed, service->engine.fingerprint);
}

static enum status open_service(struct service *service, struct error *err) {
    const struct options *options = &service->options;
    struct scheduler_options scheduler = {
        .slots = options->slots,
        .queue = options->queue,
        .threads = options->threads,
        .prefill_chunk = options->prompt_rows,
        .draft_choice = options->draft,
    };
    if (options->api_key_file) {
        enum status status = flags_used(
            "api-key-file", keys_load(&service->keys, options->api_key_file, err), err);
        if (status != STATUS_OK)
            return status;
    }
    enum status status = kernels_select(options->cpu, err);
    if (status == STATUS_OK)
        status = draft_tokens_parse(options->draft_tokens, &scheduler.draft_tokens, err);
    if (status != STATUS_OK)
        return status;
    status = flags_used("web", web_files_open(&service->web, options->web, err), err);
    if (status != STATUS_OK)
        return status;
    service->started = time(NULL);
    status = engine_open(&service->engine, options->model, options->dtype, &scheduler, err);
    if (status == STATUS_OK && options->web)
        check_packed(service);
    return flags_used("model", status, err);
}

static enum status serve(struct service *service, struct error *err) {
    struct http_server *http = NULL;
    const char *port = getenv("ALPACA_PORT");
    if (port && strstr(port, "://")) /* base/flags.h */
        log_warn("ALPACA_PORT=%s is ignored: Kubernetes sets it so for a service called alpaca",
                 port);
    enum status status = catch_signals(err);
    if (status == STATUS_OK)
        status = open_service(service, err);
    if (status == STATUS_OK)
        status = http_start(&http, service, err);
    if (status != STATUS_OK)
        goto cleanup;
    announce(service, http_url(http));

    wait_for_stop_signal();
    log_info("stopping: running stories have %d s to finish", service->options.stop_timeout_s);
    atomic_store(&service->stopping, true);
    scheduler_stop(service->engine.scheduler, service->options.stop_timeout_s * 1000);
    http_stop(http, LAST_ANSWERS_MS);
    log_info("stopped");
cleanup:
    engine_close(&service->engine);
    keys_free(&service->keys);
    web_files_close(&service->web);
    return status;
}

static enum status check_health(struct options *options, int argc, char **argv,
                                struct error *err) {
    enum status status = health_check_options(options, "/proc/1/cmdline", argc, argv, err);
    return status == STATUS_OK ? health_check(options, err) : status;
}

int main(int argc, char **argv) {
    static struct service service;
    struct error err = {0};
    bool done = false;
    program_start();
    blas_init(argv);
    enum status status = options_parse(&service.options, argc, argv, &done, &err);
    if (logs_json(&service.options))
        log_set_formatter(format_json);
    if (status == STATUS_OK && done)
        return program_end("alpaca-server", EXIT_SUCCESS);
    if (service.options.verbose)
        log_set_level(LOG_DEBUG);
    if (status == STATUS_OK && service.options.health_check)
        status = check_health(&service.options, argc, argv, &err);
    else if (status == STATUS_OK)
        status = serve(&service, &err);
    if (status == STATUS_OK)
        return EXIT_SUCCESS;
    if (logs_json(&service.options))
        log_error("%s", err.message);
    else
        fprintf(stderr, "alpaca-server: %s\n", err.message);
    return EXIT_FAILURE;
}
