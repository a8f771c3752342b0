/* A closed-loop load generator: each connection sends its next request when the last is answered.
 *
 *     httpload PORT CONNECTIONS SECONDS [PATH]
 *
 * Prints one line of JSON: requests, seconds, errors (any answer but a whole one with status 200) and
 * the quantiles of the answer time in microseconds.
 */
#include "common.h"

#include <strings.h>

enum { ROOM = 65536 };

struct connection {
    int fd;
    char in[ROOM];
    size_t length;
    uint64_t sent_at;
};

static char request[2048];
static size_t request_length;

static void send_request(struct connection *c) {
    c->length = 0;
    c->sent_at = now_ns();
    if (send(c->fd, request, request_length, MSG_NOSIGNAL) != (ssize_t)request_length) die("send");
}

/* Whether a whole answer has arrived: by its length, or by its last chunk. */
static int is_complete(struct connection *c) {
    char *body = memmem(c->in, c->length, "\r\n\r\n", 4);
    if (!body) return 0;
    body += 4;
    char *field = NULL;
    for (char *line = c->in; line < body && !field; line = (char *)memchr(line, '\n', (size_t)(body - line)) + 1)
        if (!strncasecmp(line, "content-length:", 15)) field = line;
    if (field) return c->length - (size_t)(body - c->in) >= strtoull(field + 15, NULL, 10);
    return c->length >= 5 && !memcmp(c->in + c->length - 5, "0\r\n\r\n", 5);
}

static void prepare_request(int port, const char *path) {
    const char *body = "{\"model\":\"m1\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello there, how are you today? "
                       "Please tell me about the weather.\"}],\"temperature\":0.7}";
    request_length = (size_t)snprintf(request, sizeof request,
                                      "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
                                      "Content-Length: %zu\r\n\r\n%s", path, port, strlen(body), body);
}

int main(int argc, char **argv) {
    if (argc < 4) return fprintf(stderr, "usage: httpload PORT CONNECTIONS SECONDS [PATH]\n"), 2;
    int port = atoi(argv[1]), count = atoi(argv[2]);
    double seconds = atof(argv[3]);
    allow_many_files();
    prepare_request(port, argc > 4 ? argv[4] : "/v1/chat/completions");
    struct connection *all = calloc((size_t)count, sizeof *all);
    int epoll_fd = epoll_create1(0);
    uint64_t start = now_ns(), end = start + (uint64_t)(seconds * 1e9), last = start;
    for (int i = 0; i < count; i++) {
        all[i].fd = connect_to(port);
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, all[i].fd, &e);
        send_request(&all[i]);
    }
    struct samples times = {0};
    long errors = 0;
    while (last < end && errors < count) {
        struct epoll_event events[64];
        int ready = epoll_wait(epoll_fd, events, 64, 1000);
        if (ready == 0 && now_ns() > end) break;
        for (int k = 0; k < ready; k++) {
            struct connection *c = &all[events[k].data.u32];
            ssize_t got = recv(c->fd, c->in + c->length, ROOM - c->length, MSG_DONTWAIT);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0) { /* nothing comes of this connection any more */
                errors++;
                epoll_ctl(epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
                continue;
            }
            c->length += (size_t)got;
            if (!is_complete(c)) continue;
            last = now_ns();
            if (memcmp(c->in + 8, " 200", 4)) errors++;
            add_sample(&times, last - c->sent_at);
            send_request(c);
        }
    }
    sort_samples(&times);
    printf("{\"requests\":%zu,\"seconds\":%.6f,\"errors\":%ld,\"p50_us\":%u,\"p90_us\":%u,\"p99_us\":%u,\"max_us\":%u}\n",
           times.count, (double)(last - start) / 1e9, errors, quantile(&times, 0.5), quantile(&times, 0.9),
           quantile(&times, 0.99), quantile(&times, 1));
    return 0;
}
