#include "bench/load_generator.h"

#include "base/clock.h"
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
#include <time.h>
#include <unistd.h>

enum {
    READ_BYTES = 65536,
    PAUSE_NS = 1000000, /* between looks at the connections */
};

/* What comes next of an answer (RFC 9112). */
enum place { HEAD, WHOLE_BODY, CHUNK_SIZE, CHUNK, CHUNK_END, LAST_LINE, OVER };

struct client {
    int socket; /* -1: none */
    bool busy;  /* with a story */
    struct buffer request;
    size_t sent;
    struct buffer input; /* what has come, */
    size_t taken;        /* and how much of it is read */
    enum place place;
    bool accepted; /* status 200 */
    size_t left;   /* bytes of the body or chunk still to come */
    struct buffer body; /* a stream's pieces are taken out as they come */
    int pieces;
    double asked, last; /* when the request went out, when the last piece came */
};

struct run {
    const struct load_generator *load_generator;
    struct load_generator_result *result;
    struct client *clients;
    struct pollfd *polls; /* [clients] */
    struct sockaddr_in address;
    int asked, over; /* stories begun and ended */
};

/* ---- durations ------------------------------------------------------------ */

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

double times_percentile(struct times *times, double share) {
    if (times->count == 0)
        return 0;
    qsort(times->values, times->count, sizeof *times->values, by_value);
    return times->values[(size_t)(share * (double)(times->count - 1))];
}

void load_generator_result_free(struct load_generator_result *result) {
    free(result->whole.values);
    free(result->first.values);
    free(result->between.values);
    *result = (struct load_generator_result){0};
}

/* ---- asking --------------------------------------------------------------- */

void load_generator_write_prompt(struct buffer *text, int number) {
    static const char *const words[] = {"cat",  "dog",  "bird", "boy",   "girl", "frog", "bear",
                                        "king", "tree", "ball", "house", "moon", "fish", "cake"};
    enum { WORDS = sizeof words / sizeof *words };
    buffer_printf(text, "the %s and the %s saw a %s. the %s said to the %s", words[number % WORDS],
                  words[number / WORDS % WORDS], words[number / WORDS / WORDS % WORDS],
                  words[rng_bits(1, (uint64_t)number) % WORDS],
                  words[rng_bits(2, (uint64_t)number) % WORDS]);
}

static bool write_request(const struct load_generator *load_generator, int number,
                          struct buffer *request) {
    struct buffer body = {0};
    buffer_append_text(&body, "{\"prompt\":\"");
    load_generator_write_prompt(&body, number);
    buffer_printf(&body, "\",\"max_tokens\":%d,\"temperature\":%g,\"seed\":%d,\"stream\":%s}",
                  load_generator->tokens, load_generator->temperature, number,
                  load_generator->stream ? "true" : "false");
    buffer_clear(request);
    buffer_printf(request,
                  "POST /generate HTTP/1.1\r\nHost: %s\r\n%s"
                  "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                  load_generator->host, load_generator->keep_alive ? "" : "Connection: close\r\n",
                  body.size, body.data ? body.data : "");
    bool written = !body.failed && !request->failed;
    buffer_free(&body);
    return written;
}

static enum status open_connection(const struct run *run, struct client *client,
                                   struct error *err) {
    int on = 1;
    client->socket = socket(AF_INET, SOCK_STREAM, 0);
    if (client->socket < 0 || connect(client->socket, (const struct sockaddr *)&run->address,
                                      sizeof run->address) != 0)
        return error_set_errno(err, "cannot connect to %s:%d", run->load_generator->host,
                               run->load_generator->port);
    setsockopt(client->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(client->socket, F_SETFL, O_NONBLOCK);
    return STATUS_OK;
}

static enum status ask(struct run *run, struct client *client, struct error *err) {
    if (!write_request(run->load_generator, run->asked, &client->request))
        return error_set(err, STATUS_NO_MEMORY, "no memory for a request");
    enum status status = client->socket < 0 ? open_connection(run, client, err) : STATUS_OK;
    if (status != STATUS_OK)
        return status;
    buffer_clear(&client->input);
    buffer_clear(&client->body);
    client->place = HEAD;
    client->accepted = false;
    client->sent = client->taken = client->left = 0;
    client->pieces = 0;
    client->busy = true;
    client->asked = clock_seconds();
    run->asked++;
    return STATUS_OK;
}

/* ---- reading -------------------------------------------------------------- */

/* Takes the events with text off the front of a stream's body; the last event, with the usage, and
 * what follows it stay there. */
static void read_pieces(struct run *run, struct client *client, double now) {
    static const char mark[] = "data: {\"text\":";
    const char *at = client->body.data, *end;
    while (strncmp(at, mark, sizeof mark - 1) == 0 && (end = strstr(at, "\n\n"))) {
        if (client->pieces++ == 0)
            add_time(&run->result->first, now - client->asked);
        else
            add_time(&run->result->between, now - client->last);
        client->last = now;
        at = end + 2;
    }
    client->body.size -= (size_t)(at - client->body.data);
    memmove(client->body.data, at, client->body.size + 1);
}

static const char *unread(const struct client *client) {
    return client->input.data + client->taken;
}

static bool take_head(struct client *client) {
    const char *head = unread(client), *end = strstr(head, "\r\n\r\n");
    if (!end)
        return false;
    const char *length = strstr(head, "\r\nContent-Length: ");
    const char *chunked = strstr(head, "\r\nTransfer-Encoding: chunked\r\n");
    client->accepted = strncmp(head, "HTTP/1.1 200", 12) == 0;
    client->left = length && length < end
                       ? strtoul(length + strlen("\r\nContent-Length: "), NULL, 10)
                       : 0;
    client->place = chunked && chunked < end ? CHUNK_SIZE : client->left > 0 ? WHOLE_BODY : OVER;
    client->taken += (size_t)(end - head) + 4;
    return true;
}

static bool take_body(struct client *client) {
    size_t count = client->input.size - client->taken;
    if (count > client->left)
        count = client->left;
    buffer_append(&client->body, unread(client), count);
    client->taken += count;
    client->left -= count;
    if (client->left == 0)
        client->place = client->place == CHUNK ? CHUNK_END : OVER;
    return count > 0;
}

/* A chunk's size, the line's end behind a chunk, or the empty line behind the last. */
static bool take_line(struct client *client) {
    const char *line = unread(client), *end = strchr(line, '\n');
    if (!end)
        return false;
    if (client->place == CHUNK_SIZE)
        client->left = strtoul(line, NULL, 16);
    client->place = client->place == LAST_LINE   ? OVER
                    : client->place == CHUNK_END ? CHUNK_SIZE
                    : client->left > 0           ? CHUNK
                                                 : LAST_LINE;
    client->taken += (size_t)(end - line) + 1;
    return true;
}

static bool take_next(struct client *client) {
    switch (client->place) {
    case HEAD: return take_head(client);
    case WHOLE_BODY:
    case CHUNK: return take_body(client);
    case CHUNK_SIZE:
    case CHUNK_END:
    case LAST_LINE: return take_line(client);
    case OVER: break;
    }
    return false;
}

/* The answer is there, or the connection is at its end. */
static void finish(struct run *run, struct client *client) {
    static const char mark[] = "\"completion_tokens\":";
    const char *usage = client->body.data ? strstr(client->body.data, mark) : NULL;
    bool whole = client->place == OVER && client->accepted && usage;
    if (!whole || !run->load_generator->keep_alive) {
        close(client->socket);
        client->socket = -1;
    }
    client->busy = false;
    run->over++;
    if (!whole) {
        run->result->failed++;
        return;
    }
    run->result->answered++;
    run->result->tokens += strtoull(usage + sizeof mark - 1, NULL, 10);
    run->result->pieces += (uint64_t)client->pieces;
    add_time(&run->result->whole, clock_seconds() - client->asked);
}

static void receive(struct run *run, struct client *client) {
    struct buffer *input = &client->input;
    if (!buffer_reserve(input, READ_BYTES)) {
        finish(run, client);
        return;
    }
    ssize_t count = recv(client->socket, input->data + input->size, READ_BYTES, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count <= 0) {
        finish(run, client);
        return;
    }
    input->size += (size_t)count;
    input->data[input->size] = '\0';
    while (take_next(client)) {
    }
    input->size -= client->taken;
    memmove(input->data, unread(client), input->size + 1);
    client->taken = 0;
    if (run->load_generator->stream && client->body.size > 0)
        read_pieces(run, client, clock_seconds());
    if (client->place == OVER)
        finish(run, client);
}

/* Sends or receives what is possible now. */
static void attend(struct run *run, struct client *client, short events) {
    if (client->sent < client->request.size) {
        ssize_t count = send(client->socket, client->request.data + client->sent,
                             client->request.size - client->sent, MSG_NOSIGNAL);
        if (count > 0)
            client->sent += (size_t)count;
    }
    if (events & (POLLIN | POLLHUP | POLLERR))
        receive(run, client);
}

/* ---- all of them ---------------------------------------------------------- */

/* The server writes its pieces in bursts. A pause behind the first lets the others come, so that
 * the server need not wake this thread for each of them and neither loses time to the other. */
static void await_burst(void) {
    nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
}

static enum status run_clients(struct run *run, struct error *err) {
    const struct load_generator *load_generator = run->load_generator;
    while (run->over < load_generator->stories) {
        for (int i = 0; i < load_generator->clients; i++) {
            struct client *client = &run->clients[i];
            if (!client->busy && run->asked < load_generator->stories) {
                enum status status = ask(run, client, err);
                if (status != STATUS_OK)
                    return status;
            }
            bool unsent = client->sent < client->request.size;
            run->polls[i] = (struct pollfd){client->busy ? client->socket : -1,
                                            unsent ? POLLIN | POLLOUT : POLLIN, 0};
        }
        if (poll(run->polls, (nfds_t)load_generator->clients, -1) < 0 && errno != EINTR)
            return error_set_errno(err, "cannot wait for the server");
        if (load_generator->stream)
            await_burst();
        for (int i = 0; i < load_generator->clients; i++)
            if (run->polls[i].revents)
                attend(run, &run->clients[i], run->polls[i].revents);
    }
    return STATUS_OK;
}

enum status load_generator_run(const struct load_generator *load_generator,
                               struct load_generator_result *result, struct error *err) {
    struct run run = {.load_generator = load_generator, .result = result};
    run.address = (struct sockaddr_in){.sin_family = AF_INET,
                                       .sin_port = htons((uint16_t)load_generator->port)};
    if (inet_pton(AF_INET, load_generator->host, &run.address.sin_addr) != 1)
        return error_set_field(err, STATUS_INVALID, "host", "--host is an IPv4 address");
    run.clients = calloc((size_t)load_generator->clients, sizeof *run.clients);
    run.polls = calloc((size_t)load_generator->clients, sizeof *run.polls);
    enum status status = run.clients && run.polls
                             ? STATUS_OK
                             : error_set(err, STATUS_NO_MEMORY, "no memory for the clients");
    for (int i = 0; status == STATUS_OK && i < load_generator->clients; i++)
        run.clients[i].socket = -1;
    double start = clock_seconds();
    if (status == STATUS_OK)
        status = run_clients(&run, err);
    result->seconds += clock_seconds() - start;
    for (int i = 0; run.clients && i < load_generator->clients; i++) {
        if (run.clients[i].socket >= 0)
            close(run.clients[i].socket);
        buffer_free(&run.clients[i].request);
        buffer_free(&run.clients[i].input);
        buffer_free(&run.clients[i].body);
    }
    free(run.clients);
    free(run.polls);
    return status;
}
