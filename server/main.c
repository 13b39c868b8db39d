/* alpaca-server: starts everything in order, waits for a signal, stops it in reverse. */
#include "base/log.h"
#include "engine/blas.h"
#include "server/health_check.h"
#include "server/http.h"
#include "server/options.h"
#include "server/service.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The answers of stories that have just been cut off still want to be sent. */
enum { LAST_ANSWERS_MS = 2000 };

static void leave_now(int signal_number) {
    _exit(128 + signal_number);
}

/* Blocked in every thread, so that main can wait for them: as process 1 of a container too,
 * where signals without a handler are dropped. */
static void block_signals(sigset_t *signals) {
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, signals, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* From here on a second signal ends the process at once. */
static void stop_politely_only_once(const sigset_t *signals) {
    struct sigaction action = {.sa_handler = leave_now};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    pthread_sigmask(SIG_UNBLOCK, signals, NULL);
}

static void announce(const struct service *service, const char *url) {
    log_info("serving %s from %s at %s", service->teller.name, service->teller.folder, url);
    printf("Alpaca tells stories at %s\n\n"
           "  curl %s/generate -d '{\"prompt\": \"once upon a time\"}'\n\n",
           url, url);
    fflush(stdout);
}

static enum status open_service(struct service *service, struct error *err) {
    const struct options *options = &service->options;
    struct scheduler_options scheduler = {
        .slots = options->slots,
        .queue = options->queue,
        .threads = options->threads,
        .prompt_rows = options->prompt_rows,
    };
    if (options->api_key_file) {
        enum status status = keys_load(&service->keys, options->api_key_file, err);
        if (status != STATUS_OK)
            return status;
    }
    service->started = time(NULL);
    return storyteller_open(&service->teller, options->model, &scheduler, err);
}

static enum status serve(struct service *service, struct error *err) {
    sigset_t signals;
    struct http_server *http = NULL;
    int signal_number = 0;
    block_signals(&signals);
    enum status status = open_service(service, err);
    if (status == STATUS_OK)
        status = http_start(&http, service, err);
    if (status != STATUS_OK)
        goto cleanup;
    announce(service, http_url(http));

    sigwait(&signals, &signal_number);
    stop_politely_only_once(&signals);
    log_info("stopping: running stories have %d s to finish", service->options.stop_timeout_s);
    atomic_store(&service->stopping, true);
    scheduler_stop(service->teller.scheduler, service->options.stop_timeout_s * 1000);
    http_stop(http, LAST_ANSWERS_MS);
    log_info("stopped");
cleanup:
    storyteller_close(&service->teller);
    keys_free(&service->keys);
    return status;
}

int main(int argc, char **argv) {
    static struct service service;
    struct error err = {0};
    bool done = false;
    blas_init(argv);
    enum status status = options_parse(&service.options, argc, argv, &done, &err);
    if (status == STATUS_OK && done)
        return EXIT_SUCCESS;
    if (status == STATUS_OK && service.options.help_markdown) {
        options_print_markdown();
        return EXIT_SUCCESS;
    }
    if (service.options.verbose)
        log_set_level(LOG_DEBUG);
    if (status == STATUS_OK)
        status = service.options.health_check ? health_check(&service.options, &err)
                                              : serve(&service, &err);
    if (status == STATUS_OK)
        return EXIT_SUCCESS;
    fprintf(stderr, "alpaca-server: %s\n", err.message);
    return EXIT_FAILURE;
}
