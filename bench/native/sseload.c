/* Reads many streams of server-sent events at once, from an upstream that stamps each with its time.
 *
 *     sseload PORT STREAMS SECONDS RATE
 *
 * RATE is asked of the upstream, in chunks a second and stream; 0 is as fast as it goes. Prints one line of
 * JSON: chunks, seconds, errors (streams that ended early) and quantiles of how late a chunk arrived, in
 * microseconds; a stream's first tenth of a second is left out of these.
 */
#include "common.h"

enum { ROOM = 262144, STAMP = 26 };

struct stream {
    int fd;
    char in[ROOM];
    size_t length;
    uint64_t sent_at;
};

static void ask(struct stream *s, int port, double rate) {
    char body[256], request[512];
    int length = snprintf(body, sizeof body, "{\"model\":\"m1\",\"stream\":true,\"n\":100000000,\"rate\":%g,"
                                             "\"messages\":[{\"role\":\"user\",\"content\":\"hello there\"}]}", rate);
    int total = snprintf(request, sizeof request,
                         "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                         "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", port, length, body);
    s->sent_at = now_ns();
    if (send(s->fd, request, (size_t)total, MSG_NOSIGNAL) != total) die("send");
}

/* Count the stamps that have arrived, and keep what may be the beginning of the next one. */
static size_t take_stamps(struct stream *s, uint64_t arrived, struct samples *late) {
    char *at = s->in, *end = s->in + s->length;
    size_t count = 0;
    for (char *mark; (mark = memmem(at, (size_t)(end - at), "{\"ts\":", 6)) && end - mark >= STAMP; at = mark + STAMP) {
        count++;
        if (arrived - s->sent_at > 100000000ull) add_sample(late, arrived - strtoull(mark + 6, NULL, 10));
    }
    if (end - at > STAMP) at = end - STAMP;
    char *mark = memmem(at, (size_t)(end - at), "{\"ts\":", 6);
    if (mark) at = mark;
    s->length = (size_t)(end - at);
    memmove(s->in, at, s->length);
    return count;
}

int main(int argc, char **argv) {
    if (argc < 5) return fprintf(stderr, "usage: sseload PORT STREAMS SECONDS RATE\n"), 2;
    int port = atoi(argv[1]), count = atoi(argv[2]);
    double seconds = atof(argv[3]), rate = atof(argv[4]);
    allow_many_files();
    struct stream *all = calloc((size_t)count, sizeof *all);
    int epoll_fd = epoll_create1(0);
    for (int i = 0; i < count; i++) all[i].fd = connect_to(port);
    uint64_t start = now_ns(), end = start + (uint64_t)(seconds * 1e9), now = start;
    for (int i = 0; i < count; i++) {
        ask(&all[i], port, rate);
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, all[i].fd, &e);
        if (rate > 0) { /* spread the streams over a period, as real ones are */
            struct timespec gap = {0, (long)(1e9 / rate / count * 0.97)};
            nanosleep(&gap, NULL);
        }
    }
    struct samples late = {0};
    uint64_t chunks = 0;
    int errors = 0;
    while (now < end && errors < count) {
        struct epoll_event events[64];
        int ready = epoll_wait(epoll_fd, events, 64, 100);
        now = now_ns();
        for (int k = 0; k < ready; k++) {
            struct stream *s = &all[events[k].data.u32];
            ssize_t got = recv(s->fd, s->in + s->length, ROOM - s->length, MSG_DONTWAIT);
            if (got < 0 && errno == EAGAIN) continue;
            now = now_ns();
            if (got <= 0) {
                errors++;
                epoll_ctl(epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
                continue;
            }
            s->length += (size_t)got;
            chunks += take_stamps(s, now, &late);
        }
    }
    sort_samples(&late);
    printf("{\"chunks\":%llu,\"seconds\":%.6f,\"errors\":%d,\"p50_us\":%u,\"p90_us\":%u,\"p99_us\":%u,\"max_us\":%u}\n",
           (unsigned long long)chunks, (double)(now - start) / 1e9, errors, quantile(&late, 0.5),
           quantile(&late, 0.9), quantile(&late, 0.99), quantile(&late, 1));
    return 0;
}
