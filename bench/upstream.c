/*
 * An MCP server that costs next to nothing, to measure what stands in front of it.
 *
 * One thread, epoll, HTTP/1.1 with keep-alive and pipelining on 127.0.0.1; answers are JSON, in whichever era the
 * request came. It echoes the id that it was sent and counts what it got: GET /stats. It prints its port when ready.
 * A request it cannot read closes the connection and counts as bad, so that a broken gateway shows.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { IN_BYTES = 256 * 1024, OUT_BYTES = 256 * 1024, ROOM_FOR_ANSWER = 8 * 1024, ID_BYTES = 512 };

struct peer {
    int fd;
    size_t in_len, out_len, out_sent;
    char in[IN_BYTES], out[OUT_BYTES];
};

struct slice {
    const char *at;
    size_t len;
};

struct head {
    size_t bytes, body_bytes;
    bool get_stats, post, stateless, close;
};

static struct {
    unsigned long tools_call, tools_list, initialize, discover, ping, notification, unknown, bad;
} counted;

static bool is(struct slice s, const char *word) {
    return s.len == strlen(word) && memcmp(s.at, word, s.len) == 0;
}

/* Past the string that starts at `p` (on its opening quote), or NULL. */
static const char *after_string(const char *p, const char *end) {
    for (p++; p < end; p++) {
        if (*p == '\\') p++;
        else if (*p == '"') return p + 1;
    }
    return NULL;
}

/* Past the JSON value that starts at `p`, whatever it holds, or NULL. */
static const char *after_value(const char *p, const char *end) {
    int depth = 0;
    while (p < end) {
        if (*p == '"') {
            if (!(p = after_string(p, end))) return NULL;
            if (depth == 0) return p;
            continue;
        }
        if (*p == '{' || *p == '[') depth++;
        else if (*p == '}' || *p == ']') {
            if (depth == 0) return p; /* the end of a bare number or word, at the close of what holds it */
            if (--depth == 0) return p + 1;
        } else if (depth == 0 && (*p == ',' || *p == ' ' || *p == '\r' || *p == '\n' || *p == '\t')) return p;
        p++;
    }
    return NULL;
}

static const char *skip_space(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n')) p++;
    return p;
}

/* Finds `id` and `method` among the members of the outermost object only. */
static bool read_message(const char *p, const char *end, struct slice *id, struct slice *method) {
    p = skip_space(p, end);
    if (p == end || *p != '{') return false;
    p = skip_space(p + 1, end);
    while (p < end && *p == '"') {
        const char *name_end = after_string(p, end);
        if (!name_end) return false;
        struct slice name = {p + 1, (size_t)(name_end - p) - 2};
        p = skip_space(name_end, end);
        if (p == end || *p != ':') return false;
        p = skip_space(p + 1, end);
        const char *value_end = after_value(p, end);
        if (!value_end) return false;
        if (is(name, "id")) *id = (struct slice){p, (size_t)(value_end - p)};
        if (is(name, "method") && *p == '"') *method = (struct slice){p + 1, (size_t)(value_end - p) - 2};
        p = skip_space(value_end, end);
        if (p < end && *p == ',') p = skip_space(p + 1, end);
    }
    return p < end && *p == '}' && id->len < ID_BYTES;
}

/* 1: a whole head; 0: not yet; -1: nothing this server understands. */
static int read_head(const char *in, size_t len, struct head *h) {
    const char *stop = memmem(in, len, "\r\n\r\n", 4);
    if (!stop) return 0;
    *h = (struct head){.bytes = (size_t)(stop - in) + 4};
    h->get_stats = strncmp(in, "GET /stats ", 11) == 0;
    h->post = strncmp(in, "POST ", 5) == 0;
    for (const char *line = in, *end; line < stop; line = end + 2) {
        end = memmem(line, (size_t)(stop + 2 - line), "\r\n", 2);
        if (strncasecmp(line, "content-length:", 15) == 0) h->body_bytes = strtoul(line + 15, NULL, 10);
        else if (strncasecmp(line, "transfer-encoding:", 18) == 0) return -1;
        else if (strncasecmp(line, "connection: close", 17) == 0) h->close = true;
        else if (strncasecmp(line, "mcp-protocol-version: 2026-07-28", 32) == 0) h->stateless = true;
    }
    return h->body_bytes + h->bytes <= IN_BYTES ? 1 : -1;
}

static void say(struct peer *p, const char *status, const char *body, size_t len) {
    p->out_len += (size_t)sprintf(p->out + p->out_len,
                                  "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", status, len);
    memcpy(p->out + p->out_len, body, len);
    p->out_len += len;
}

#define TOOL(name, property, type) \
    "{\"name\":\"" name "\",\"description\":\"A tool to measure with\",\"inputSchema\":{\"type\":\"object\"," \
    "\"properties\":{\"" property "\":{\"type\":\"" type "\"}},\"required\":[\"" property "\"]}}"
#define INFO "\"serverInfo\":{\"name\":\"bench-upstream\",\"version\":\"1\"}"
#define ABLE "\"capabilities\":{\"tools\":{}}"

static const char *result_for(struct slice method, bool stateless) {
    if (is(method, "tools/call") && ++counted.tools_call)
        return "\"content\":[{\"type\":\"text\",\"text\":\"an answer from the upstream\"}],\"isError\":false";
    if (is(method, "tools/list") && ++counted.tools_list)
        return "\"tools\":[" TOOL("echo", "text", "string") "," TOOL("read_file", "path", "string") "," TOOL(
            "add", "a", "number") "," TOOL("delete_file", "path", "string") "]";
    if (is(method, "initialize") && !stateless && ++counted.initialize)
        return "\"protocolVersion\":\"2025-06-18\"," ABLE "," INFO;
    if (is(method, "server/discover") && stateless && ++counted.discover)
        return "\"supportedVersions\":[\"2026-07-28\"]," ABLE ",\"_meta\":{\"io.modelcontextprotocol/serverInfo\":"
               "{\"name\":\"bench-upstream\",\"version\":\"1\"}}";
    if (is(method, "ping") && !stateless && ++counted.ping) return "";
    return NULL;
}

static bool answer(struct peer *p, const char *body, size_t len, bool stateless) {
    static char text[ROOM_FOR_ANSWER];
    struct slice id = {NULL, 0}, method = {NULL, 0};
    if (!read_message(body, body + len, &id, &method) || !method.at) return false;
    if (!id.at) {
        counted.notification++;
        say(p, "202 Accepted", "", 0);
        return true;
    }
    const char *result = result_for(method, stateless);
    bool cacheable = stateless && (is(method, "tools/list") || is(method, "server/discover"));
    int n;
    if (result)
        n = snprintf(text, sizeof text, "{\"jsonrpc\":\"2.0\",\"id\":%.*s,\"result\":{%s%s%s%s}}", (int)id.len, id.at,
                     stateless ? "\"resultType\":\"complete\"" : "", stateless && *result ? "," : "", result,
                     cacheable ? ",\"ttlMs\":0,\"cacheScope\":\"private\"" : "");
    else {
        counted.unknown++;
        n = snprintf(text, sizeof text,
                     "{\"jsonrpc\":\"2.0\",\"id\":%.*s,\"error\":{\"code\":-32601,\"message\":\"no such method\"}}",
                     (int)id.len, id.at);
    }
    say(p, "200 OK", text, (size_t)n);
    return true;
}

static void say_stats(struct peer *p) {
    char text[512];
    int n = snprintf(text, sizeof text,
                     "{\"tools_call\":%lu,\"tools_list\":%lu,\"initialize\":%lu,\"discover\":%lu,\"ping\":%lu,"
                     "\"notification\":%lu,\"unknown\":%lu,\"bad\":%lu}\n",
                     counted.tools_call, counted.tools_list, counted.initialize, counted.discover, counted.ping,
                     counted.notification, counted.unknown, counted.bad);
    say(p, "200 OK", text, (size_t)n);
}

/* Answers every whole request that has come; false when the connection is to be closed. */
static bool serve(struct peer *p) {
    size_t used = 0;
    bool open = true;
    while (open && p->out_len + ROOM_FOR_ANSWER * 2 < OUT_BYTES) {
        struct head h;
        int whole = read_head(p->in + used, p->in_len - used, &h);
        if (whole == 0 || (whole > 0 && p->in_len - used < h.bytes + h.body_bytes)) break;
        const char *body = p->in + used + (whole > 0 ? h.bytes : 0);
        if (whole < 0 || (h.post && !answer(p, body, h.body_bytes, h.stateless))) {
            counted.bad++;
            return false;
        }
        if (h.get_stats) say_stats(p);
        else if (!h.post) say(p, "405 Method Not Allowed", "", 0);
        used += h.bytes + h.body_bytes;
        open = !h.close;
    }
    memmove(p->in, p->in + used, p->in_len - used);
    p->in_len -= used;
    return open;
}

/* Sends what it can; false when the peer is gone. */
static bool flush(struct peer *p) {
    while (p->out_sent < p->out_len) {
        ssize_t n = send(p->fd, p->out + p->out_sent, p->out_len - p->out_sent, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN;
        p->out_sent += (size_t)n;
    }
    p->out_len = p->out_sent = 0;
    return true;
}

static bool turn(struct peer *p) {
    ssize_t n = recv(p->fd, p->in + p->in_len, IN_BYTES - p->in_len, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) return false;
    if (n > 0) p->in_len += (size_t)n;
    bool open;
    size_t before;
    do { /* again while answers had to wait for room that is there now */
        before = p->in_len;
        open = serve(p);
        if (!flush(p)) return false;
    } while (open && p->out_len == 0 && p->in_len > 0 && p->in_len < before);
    return open;
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof at;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, len) || listen(fd, 1024) || getsockname(fd, (struct sockaddr *)&at, &len)) {
        perror("cannot listen");
        exit(1);
    }
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv) {
    int door = listen_on(argc > 1 ? atoi(argv[1]) : 0), poll = epoll_create1(EPOLL_CLOEXEC), on = 1;
    struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = NULL}, met[256];
    epoll_ctl(poll, EPOLL_CTL_ADD, door, &wanted);
    for (;;) {
        int n = epoll_wait(poll, met, 256, -1);
        for (int i = 0; i < n; i++) {
            struct peer *p = met[i].data.ptr;
            if (p) {
                if (!turn(p)) {
                    close(p->fd);
                    free(p);
                } else {
                    /* What the socket would not take is sent when it can be written again. */
                    wanted = (struct epoll_event){.events = EPOLLIN | (p->out_len ? EPOLLOUT : 0u), .data.ptr = p};
                    if (p->out_len || (met[i].events & EPOLLOUT)) epoll_ctl(poll, EPOLL_CTL_MOD, p->fd, &wanted);
                }
                continue;
            }
            for (int fd; (fd = accept4(door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
                struct peer *fresh = malloc(sizeof *fresh);
                if (!fresh) {
                    close(fd);
                    break;
                }
                fresh->fd = fd;
                fresh->in_len = fresh->out_len = fresh->out_sent = 0;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                wanted = (struct epoll_event){.events = EPOLLIN, .data.ptr = fresh};
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &wanted);
            }
        }
    }
}
