/* A model server that costs next to nothing, so that what is measured is what stands in front of it.
 *
 *     upstream PORT [--cpu N] [--ready-ms N] [--until-ready refuse|503]
 *
 * Answers every request with 1 KiB of JSON that says when the process started and was ready (nanoseconds of
 * the monotonic clock). A body with "stream":true gets server-sent events of 250 bytes each, "n" of them, at
 * "rate" a second (0: as fast as they are taken), each with the time it was sent. A path that ends in
 * /bytes/N gets N bytes; a request body of any length is read and dropped.
 */
#include "common.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/timerfd.h>

enum { MAX_FD = 8192, HEAD_ROOM = 16384, BODY_KEPT = 4096, BURST = 64, BLOCK = 65536, CHUNK = 250 };
enum phase { READING_HEAD, READING_BODY, STREAMING };

struct connection {
    int fd;
    enum phase phase;
    char in[HEAD_ROOM];
    size_t in_length;
    int chunked;
    uint64_t body_left;
    char body[BODY_KEPT + 1];
    size_t body_length;
    long chunks, chunks_sent;     /* of a stream */
    uint64_t period, due;         /* its pace; 0 is none */
    uint64_t bytes_left;          /* of a download */
    char out[512];
    size_t out_length, out_sent;
    int wants_write, ending;
};

static struct connection *connections[MAX_FD];
static int highest_fd, epoll_fd, timer_fd;
static uint64_t started_at, ready_at;
static int answers_503;
static char reply[2048], block[BLOCK];
static size_t reply_length;

static int take_input(struct connection *c);

static void drop(struct connection *c) {
    close(c->fd); /* leaves the epoll set by itself */
    connections[c->fd] = NULL;
    free(c);
}

static void want_write(struct connection *c, int wanted) {
    if (c->wants_write == wanted) return;
    c->wants_write = wanted;
    struct epoll_event e = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.fd = c->fd};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
}

/* Send; -1: the connection is gone, 0: the socket is full, else what went out. */
static ssize_t try_send(struct connection *c, const char *data, size_t length) {
    ssize_t sent = send(c->fd, data, length, MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    if (errno == EAGAIN) {
        want_write(c, 1);
        return 0;
    }
    drop(c);
    return -1;
}

static void set_out(struct connection *c, int length) {
    c->out_length = (size_t)length;
    c->out_sent = 0;
}

static void next_chunk(struct connection *c) {
    int k = sprintf(c->out, "%x\r\ndata: {\"ts\":%020llu,\"i\":%08ld,\"choices\":[{\"index\":0,\"delta\":{\"content\":\"",
                    CHUNK, (unsigned long long)now_ns(), c->chunks_sent);
    const char tail[] = "\"}}]}\n\n\r\n";
    int end = (int)strlen("fa\r\n") + CHUNK + 2;
    while (k < end - (int)strlen(tail)) c->out[k++] = 'x';
    memcpy(c->out + k, tail, strlen(tail));
    set_out(c, end);
    c->chunks_sent++;
}

static void last_chunk(struct connection *c) {
    set_out(c, sprintf(c->out, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"));
    c->ending = 1;
}

static int finish_answer(struct connection *c) {
    c->phase = READING_HEAD;
    c->ending = 0;
    want_write(c, 0);
    return take_input(c);
}

static int pump_download(struct connection *c) {
    while (c->bytes_left) {
        ssize_t sent = try_send(c, block, c->bytes_left < BLOCK ? c->bytes_left : BLOCK);
        if (sent <= 0) return (int)sent;
        c->bytes_left -= (uint64_t)sent;
    }
    return finish_answer(c);
}

/* Send as much of the stream as is due and fits; -1: the connection is gone. */
static int pump(struct connection *c) {
    for (int burst = 0;; burst++) {
        while (c->out_sent < c->out_length) {
            ssize_t sent = try_send(c, c->out + c->out_sent, c->out_length - c->out_sent);
            if (sent <= 0) return (int)sent;
            c->out_sent += (size_t)sent;
        }
        if (c->bytes_left) return pump_download(c);
        if (c->ending) return finish_answer(c);
        if (c->chunks_sent >= c->chunks) {
            last_chunk(c);
        } else if (c->period) {
            if (now_ns() < c->due) {
                want_write(c, 0);
                return 0;
            }
            c->due += c->period;
            next_chunk(c);
        } else if (burst > BURST) { /* the other streams' turn */
            want_write(c, 1);
            return 0;
        } else {
            next_chunk(c);
        }
    }
}

static double number(const char *text, const char *key, double otherwise) {
    const char *at = strstr(text, key);
    return at ? atof(at + strlen(key)) : otherwise;
}

static int start_stream(struct connection *c) {
    double rate = number(c->body, "\"rate\":", 0);
    c->chunks = (long)number(c->body, "\"n\":", 100);
    c->chunks_sent = 0;
    c->period = rate > 0 ? (uint64_t)(1e9 / rate) : 0;
    c->due = now_ns();
    c->phase = STREAMING;
    set_out(c, sprintf(c->out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                               "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"));
    return pump(c);
}

static int start_download(struct connection *c, uint64_t size) {
    c->bytes_left = size;
    c->phase = STREAMING;
    set_out(c, sprintf(c->out, "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
                               "Content-Length: %llu\r\n\r\n", (unsigned long long)size));
    return pump(c);
}

static int answer(struct connection *c) {
    static const char loading[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    int ready = now_ns() >= ready_at || !answers_503;
    c->body[c->body_length] = 0;
    c->phase = READING_HEAD;
    if (ready && c->bytes_left) return start_download(c, c->bytes_left);
    if (ready && (strstr(c->body, "\"stream\":true") || strstr(c->body, "\"stream\": true"))) return start_stream(c);
    const char *whole = ready ? reply : loading;
    size_t length = ready ? reply_length : strlen(loading);
    if (send(c->fd, whole, length, MSG_NOSIGNAL) == (ssize_t)length) return 0;
    drop(c);
    return -1;
}

static void keep_body(struct connection *c, size_t length) {
    size_t room = BODY_KEPT - c->body_length;
    size_t kept = length < room ? length : room;
    memcpy(c->body + c->body_length, c->in, kept);
    c->body_length += kept;
}

static void consume(struct connection *c, size_t length) {
    memmove(c->in, c->in + length, c->in_length - length);
    c->in_length -= length;
}

/* Read the head if all of it is there: 1, else 0; -1: the connection is gone. */
static int take_head(struct connection *c) {
    char *end = memmem(c->in, c->in_length, "\r\n\r\n", 4);
    if (!end) {
        if (c->in_length < HEAD_ROOM - 1) return 0;
        drop(c);
        return -1;
    }
    *end = 0;
    const char *length = strcasestr(c->in, "\r\ncontent-length:");
    const char *size = strstr(c->in, "/bytes/");
    const char *line_end = strstr(c->in, "\r\n");
    c->body_left = length ? strtoull(length + strlen("\r\ncontent-length:"), NULL, 10) : 0;
    c->chunked = strcasestr(c->in, "\r\ntransfer-encoding: chunked") != NULL;
    c->bytes_left = size && size < line_end ? strtoull(size + strlen("/bytes/"), NULL, 10) : 0;
    if (strcasestr(c->in, "\r\nexpect: 100-continue")) send(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL);
    consume(c, (size_t)(end + 4 - c->in));
    c->body_length = 0;
    c->phase = READING_BODY;
    return 1;
}

/* Read what is there of the body; 1 when it is complete. A chunked one is taken to end where "0 CRLF CRLF"
 * ends what has arrived: clients wait for the answer before they send more. */
static int take_body(struct connection *c) {
    if (!c->chunked) {
        size_t length = c->in_length < c->body_left ? c->in_length : c->body_left;
        keep_body(c, length);
        consume(c, length);
        c->body_left -= length;
        return c->body_left == 0;
    }
    int complete = c->in_length >= 5 && !memcmp(c->in + c->in_length - 5, "0\r\n\r\n", 5);
    size_t understood = complete ? c->in_length : c->in_length > 5 ? c->in_length - 5 : 0;
    keep_body(c, understood);
    consume(c, understood);
    return complete;
}

/* Understand what has arrived and answer; -1: the connection is gone. */
static int take_input(struct connection *c) {
    for (;;) {
        if (c->phase == READING_HEAD) {
            if (!c->in_length) return 0;
            int taken = take_head(c);
            if (taken <= 0) return taken;
        }
        if (c->phase == READING_BODY) {
            if (!take_body(c)) return 0;
            if (answer(c) < 0) return -1;
        }
        if (c->phase == STREAMING) return 0;
    }
}

static void readable(struct connection *c) {
    for (;;) {
        ssize_t got = recv(c->fd, c->in + c->in_length, HEAD_ROOM - 1 - c->in_length, 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) {
            drop(c);
            return;
        }
        c->in_length += (size_t)got;
        if (c->phase == STREAMING || take_input(c) < 0) return;
    }
}

static void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        if (fd >= MAX_FD) {
            close(fd);
            continue;
        }
        no_delay(fd);
        struct connection *c = calloc(1, sizeof *c);
        c->fd = fd;
        connections[fd] = c;
        if (fd > highest_fd) highest_fd = fd;
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
    }
}

static int is_paced(const struct connection *c) {
    return c && c->phase == STREAMING && c->period && !c->wants_write;
}

static void pump_due(void) {
    uint64_t ticks;
    if (read(timer_fd, &ticks, sizeof ticks) < 0 && errno != EAGAIN) die("timer");
    uint64_t now = now_ns();
    for (int fd = 0; fd <= highest_fd; fd++)
        if (is_paced(connections[fd]) && connections[fd]->due <= now) pump(connections[fd]);
}

static void set_timer(void) {
    uint64_t next = 0;
    for (int fd = 0; fd <= highest_fd; fd++)
        if (is_paced(connections[fd]) && (!next || connections[fd]->due < next)) next = connections[fd]->due;
    struct itimerspec when = {.it_value = {(time_t)(next / 1000000000ull), (long)(next % 1000000000ull)}};
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void prepare_reply(void) {
    char body[1100];
    int k = sprintf(body, "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"started_ns\":%llu,\"ready_ns\":%llu,"
                          "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"",
                    (unsigned long long)started_at, (unsigned long long)ready_at);
    while (k < 1024 - 5) body[k++] = 'y';
    memcpy(body + k, "\"}}]}", 5);
    reply_length = (size_t)sprintf(reply, "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n"
                                          "Content-Length: 1024\r\n\r\n%.1024s", body);
    memset(block, 'z', sizeof block);
}

static int listen_on(int port) {
    struct sockaddr_in address = loopback(port);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address)) die("bind");
    listen(fd, 4096);
    return fd;
}

static void sleep_until(uint64_t ns) {
    struct timespec t = {(time_t)(ns / 1000000000ull), (long)(ns % 1000000000ull)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {}
}

static void watch(int fd) {
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
}

int main(int argc, char **argv) {
    int port = argc > 1 ? atoi(argv[1]) : 0;
    long ready_ms = 0;
    started_at = now_ns();
    for (int i = 2; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--cpu")) pin_to_cpu(atoi(argv[i + 1]));
        if (!strcmp(argv[i], "--ready-ms")) ready_ms = atol(argv[i + 1]);
        if (!strcmp(argv[i], "--until-ready")) answers_503 = !strcmp(argv[i + 1], "503");
    }
    signal(SIGPIPE, SIG_IGN);
    allow_many_files();
    ready_at = started_at + (uint64_t)ready_ms * 1000000ull;
    if (!answers_503) sleep_until(ready_at);
    prepare_reply();
    int listener = listen_on(port);
    epoll_fd = epoll_create1(0);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    watch(listener);
    watch(timer_fd);
    for (;;) {
        struct epoll_event events[256];
        int count = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                accept_all(listener);
                continue;
            }
            if (fd == timer_fd) {
                pump_due();
                continue;
            }
            if (connections[fd] && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(connections[fd]);
            struct connection *c = connections[fd];
            if (c && events[i].events & EPOLLOUT && c->phase == STREAMING) pump(c);
        }
        set_timer();
    }
}
