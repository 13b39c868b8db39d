/* alpaca-bench serve: N clients at a running server, each asking for one story after another. */
#include "bench/bench.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/flags.h"
#include "base/rng.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct serve_options {
    const char *host;
    int port, clients, requests, tokens;
    double temperature;
    bool stream;
};

#define AT(member) offsetof(struct serve_options, member)
static const struct flag flags[] = {
    {"host", FLAG_TEXT, AT(host), "127.0.0.1", 0, 0, "ADDRESS", "IPv4 address of the server"},
    {"port", FLAG_INT, AT(port), "8080", 1, 65535, "PORT", "port of the server"},
    {"clients", FLAG_INT, AT(clients), "32", 1, 4096, "", "stories asked for at the same time"},
    {"requests", FLAG_INT, AT(requests), "256", 1, 1e8, "", "stories in all"},
    {"tokens", FLAG_INT, AT(tokens), "200", 1, 60000, "tokens", "of each story at most"},
    {"temperature", FLAG_REAL, AT(temperature), "0.7", 0, 2, "", "of every story"},
    {"stream", FLAG_SWITCH, AT(stream), "on", 0, 0, "", "ask for token after token"},
};
static const struct flag_table table = {
    .usage = "alpaca-bench serve [options]",
    .summary = "Stories and tokens per second over HTTP, the time to the first token and the times\n"
               "between tokens as the clients see them.",
    .flags = flags,
    .count = sizeof flags / sizeof *flags,
};

/* Growing list of durations in seconds. */
struct times {
    double *values;
    size_t count, capacity;
};

static void add_time(struct times *times, double seconds) {
    if (times->count == times->capacity) {
        size_t capacity = times->capacity ? 2 * times->capacity : 4096;
        double *values = realloc(times->values, capacity * sizeof *values);
        if (!values)
            return; /* the figures come from fewer samples then */
        times->values = values;
        times->capacity = capacity;
    }
    times->values[times->count++] = seconds;
}

static int by_value(const void *left, const void *right) {
    double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b;
}

static double percentile(struct times *times, double share) {
    if (times->count == 0)
        return 0;
    qsort(times->values, times->count, sizeof *times->values, by_value);
    return times->values[(size_t)(share * (double)(times->count - 1))];
}

struct client {
    int socket; /* -1: between stories */
    struct buffer request, answer;
    size_t sent, scanned; /* of the answer, events are counted up to here */
    int events;
    double asked, last; /* when the request went out, when the last event came */
};

struct run {
    const struct serve_options *options;
    struct client *clients;
    struct pollfd *polls;
    int asked, answered, failed;
    uint64_t tokens;
    struct times first, gaps, whole;
};

/* Prompts of about 16 tokens, no two alike. */
static void write_prompt(struct buffer *text, int number) {
    static const char *const words[] = {"cat",  "dog",  "bird", "boy",   "girl", "frog", "bear",
                                        "king", "tree", "ball", "house", "moon", "fish", "cake"};
    enum { WORDS = sizeof words / sizeof *words };
    buffer_printf(text, "the %s and the %s saw a %s. the %s said to the %s", words[number % WORDS],
                  words[number / WORDS % WORDS], words[number / WORDS / WORDS % WORDS],
                  words[rng_bits(1, (uint64_t)number) % WORDS],
                  words[rng_bits(2, (uint64_t)number) % WORDS]);
}

static enum status ask(struct run *run, struct client *client, struct error *err) {
    const struct serve_options *o = run->options;
    struct buffer body = {0};
    buffer_printf(&body, "{\"prompt\":\"");
    write_prompt(&body, run->asked);
    buffer_printf(&body, "\",\"max_tokens\":%d,\"temperature\":%g,\"seed\":%d,\"stream\":%s}",
                  o->tokens, o->temperature, run->asked, o->stream ? "true" : "false");
    buffer_clear(&client->request);
    buffer_clear(&client->answer);
    buffer_printf(&client->request,
                  "POST /generate HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n"
                  "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                  o->host, body.size, body.data ? body.data : "");
    bool failed = body.failed || client->request.failed;
    buffer_free(&body);
    if (failed)
        return error_set(err, STATUS_NO_MEMORY, "no memory for a request");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)o->port)};
    if (inet_pton(AF_INET, o->host, &address.sin_addr) != 1)
        return error_set_field(err, STATUS_INVALID, "host", "--host is an IPv4 address");
    client->socket = socket(AF_INET, SOCK_STREAM, 0);
    if (client->socket < 0 ||
        connect(client->socket, (struct sockaddr *)&address, sizeof address) != 0)
        return error_set_errno(err, "cannot connect to %s:%d", o->host, o->port);
    int on = 1;
    setsockopt(client->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(client->socket, F_SETFL, O_NONBLOCK);
    client->sent = client->scanned = 0;
    client->events = 0;
    client->asked = clock_seconds();
    run->asked++;
    return STATUS_OK;
}

/* Counts the events that have come since the last time. */
static void count_events(struct run *run, struct client *client, double now) {
    static const char mark[] = "\"text\":";
    const char *found;
    while (client->scanned < client->answer.size &&
           (found = strstr(client->answer.data + client->scanned, mark))) {
        add_time(client->events ? &run->gaps : &run->first,
                 now - (client->events ? client->last : client->asked));
        client->events++;
        client->last = now;
        client->scanned = (size_t)(found - client->answer.data) + sizeof mark - 1;
    }
}

static void finish(struct run *run, struct client *client) {
    const char *usage = client->answer.data ? strstr(client->answer.data, "\"completion_tokens\":")
                                            : NULL;
    close(client->socket);
    client->socket = -1;
    if (!usage || strncmp(client->answer.data, "HTTP/1.1 200", 12) != 0) {
        run->failed++;
        return;
    }
    run->answered++;
    run->tokens += strtoull(usage + strlen("\"completion_tokens\":"), NULL, 10);
    add_time(&run->whole, clock_seconds() - client->asked);
}

/* Sends or receives what is possible now. */
static void serve_client(struct run *run, struct client *client, short events) {
    if (events & POLLOUT && client->sent < client->request.size) {
        ssize_t count = send(client->socket, client->request.data + client->sent,
                             client->request.size - client->sent, MSG_NOSIGNAL);
        if (count > 0)
            client->sent += (size_t)count;
    }
    if (!(events & (POLLIN | POLLHUP | POLLERR)))
        return;
    if (!buffer_reserve(&client->answer, 65536)) {
        finish(run, client);
        return;
    }
    ssize_t count = recv(client->socket, client->answer.data + client->answer.size, 65536, 0);
    if (count > 0) {
        client->answer.size += (size_t)count;
        client->answer.data[client->answer.size] = '\0';
        if (run->options->stream)
            count_events(run, client, clock_seconds());
    } else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
        finish(run, client);
    }
}

static enum status run_clients(struct run *run, struct error *err) {
    const struct serve_options *o = run->options;
    while (run->answered + run->failed < o->requests) {
        for (int i = 0; i < o->clients; i++) {
            struct client *client = &run->clients[i];
            if (client->socket < 0 && run->asked < o->requests) {
                enum status status = ask(run, client, err);
                if (status != STATUS_OK)
                    return status;
            }
            run->polls[i] = (struct pollfd){
                client->socket, client->sent < client->request.size ? POLLIN | POLLOUT : POLLIN, 0};
        }
        if (poll(run->polls, (nfds_t)o->clients, -1) < 0 && errno != EINTR)
            return error_set_errno(err, "cannot wait for the server");
        for (int i = 0; i < o->clients; i++)
            if (run->polls[i].revents)
                serve_client(run, &run->clients[i], run->polls[i].revents);
    }
    return STATUS_OK;
}

static void print(struct run *run, double seconds) {
    printf("%d clients, %d stories, %d failed, %.2f s\n", run->options->clients, run->answered,
           run->failed, seconds);
    printf("  %.0f tokens/s, %.1f stories/s, %.0f tokens a story\n",
           (double)run->tokens / seconds, run->answered / seconds,
           run->answered ? (double)run->tokens / run->answered : 0.0);
    printf("  whole story     p50 %8.2f ms, p99 %8.2f ms\n", percentile(&run->whole, 0.5) * 1e3,
           percentile(&run->whole, 0.99) * 1e3);
    if (run->options->stream) {
        printf("  first token     p50 %8.2f ms, p99 %8.2f ms\n",
               percentile(&run->first, 0.5) * 1e3, percentile(&run->first, 0.99) * 1e3);
        printf("  between tokens  p50 %8.2f ms, p99 %8.2f ms\n",
               percentile(&run->gaps, 0.5) * 1e3, percentile(&run->gaps, 0.99) * 1e3);
    }
}

static enum status run_all(const void *options_of_command, struct error *err) {
    const struct serve_options *o = options_of_command;
    struct run run = {.options = o};
    run.clients = calloc((size_t)o->clients, sizeof *run.clients);
    run.polls = calloc((size_t)o->clients, sizeof *run.polls);
    enum status status = run.clients && run.polls
                             ? STATUS_OK
                             : error_set(err, STATUS_NO_MEMORY, "no memory for the clients");
    for (int i = 0; status == STATUS_OK && i < o->clients; i++)
        run.clients[i].socket = -1;
    double start = clock_seconds();
    if (status == STATUS_OK)
        status = run_clients(&run, err);
    if (status == STATUS_OK)
        print(&run, clock_seconds() - start);
    for (int i = 0; run.clients && i < o->clients; i++) {
        if (run.clients[i].socket >= 0)
            close(run.clients[i].socket);
        buffer_free(&run.clients[i].request);
        buffer_free(&run.clients[i].answer);
    }
    free(run.clients);
    free(run.polls);
    free(run.first.values);
    free(run.gaps.values);
    free(run.whole.values);
    return status;
}

int bench_serve(int argc, char **argv) {
    struct serve_options options;
    return bench_command("serve", &table, &options, argc, argv, run_all);
}
