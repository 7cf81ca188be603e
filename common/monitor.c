/*
 * The HTTP server of --metrics (monitor.h), through libmicrohttpd.
 */
#include "common/monitor.h"
#include "common/err.h"
#include <inttypes.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_CONNECTIONS 16
#define TIMEOUT_SECONDS 5u

struct monitor {
    struct MHD_Daemon *daemon;
    struct monitor_view view;
    bool ready;
    char *path; /* of a socket, removed at the end; NULL: a port */
};

void monitor_add(struct buf *out, const char *name, const char *label, uint64_t value)
{
    buf_printf(out, *label ? "atelier_%s{%s} %" PRIu64 "\n" : "atelier_%s%s %" PRIu64 "\n", name, label, value);
}

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned code, const char *text, size_t len)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(len, (void *)text, MHD_RESPMEM_MUST_COPY);
    if (r == NULL)
        return MHD_NO;
    MHD_add_response_header(r, "Content-Type", "text/plain; version=0.0.4");
    enum MHD_Result result = MHD_queue_response(connection, code, r);
    MHD_destroy_response(r);
    return result;
}

static enum MHD_Result handle(void *self, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *upload, size_t *upload_len, void **state)
{
    struct monitor *m = self;
    (void)version;
    (void)upload;
    (void)state;
    if (strcmp(method, "GET") != 0 || *upload_len > 0)
        return reply(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET it\n", 7);
    if (strcmp(url, "/healthz") == 0)
        return reply(connection, MHD_HTTP_OK, "ok\n", 3);
    if (strcmp(url, "/readyz") == 0) {
        bool ready = __atomic_load_n(&m->ready, __ATOMIC_RELAXED);
        return ready ? reply(connection, MHD_HTTP_OK, "ready\n", 6)
                     : reply(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "not yet\n", 8);
    }
    if (strcmp(url, "/metrics") != 0)
        return reply(connection, MHD_HTTP_NOT_FOUND, "/metrics, /healthz, /readyz\n", 28);
    struct buf out = {0};
    m->view.print(m->view.self, &out);
    enum MHD_Result result = reply(connection, MHD_HTTP_OK, (const char *)out.data, out.len);
    buf_free(&out);
    return result;
}

static int listen_at(int fd, const struct sockaddr *address, socklen_t len, const char *name)
{
    const int yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (fd >= 0 && bind(fd, address, len) == 0 && listen(fd, MAX_CONNECTIONS) == 0)
        return fd;
    err_sys("--metrics %s", name);
    if (fd >= 0)
        close(fd);
    return -1;
}

static int listen_at_path(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return err_set(ERR_USAGE, "--metrics %s: a socket's path has at most %zu bytes", path,
                       sizeof address.sun_path - 1);
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    unlink(path); /* of one that was killed */
    return listen_at(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), (struct sockaddr *)&address, sizeof address, path);
}

static int listen_at_port(const char *address, bool insecure)
{
    const char *colon = strrchr(address, ':');
    struct addrinfo *found = NULL;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    if (colon == NULL || colon == address || colon[1] == 0)
        return err_set(ERR_USAGE, "--metrics %s: HOST:PORT is needed, as 127.0.0.1:9090", address);
    char *host = xasprintf("%.*s", (int)(colon - address), address);
    bool local = strncmp(host, "127.", 4) == 0 || strcmp(host, "localhost") == 0;
    int fd = -1;
    if (!local && !insecure)
        err_set(ERR_USAGE, "--metrics %s: other hosts could read it; use 127.0.0.1, or say --insecure", address);
    else if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
        err_set(ERR_USAGE, "--metrics %s: no such address", address);
    else
        fd = listen_at(socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), found->ai_addr, found->ai_addrlen,
                       address);
    if (found)
        freeaddrinfo(found);
    free(host);
    return fd;
}

int monitor_open(struct monitor **out, const char *address, bool insecure, const struct monitor_view *view)
{
    bool is_path = strchr(address, '/') != NULL;
    int fd = is_path ? listen_at_path(address) : listen_at_port(address, insecure);
    if (fd < 0)
        return -1;
    struct monitor *m = xcalloc(1, sizeof *m);
    m->view = *view;
    m->path = is_path ? xstrdup(address) : NULL;
    m->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, handle, m, MHD_OPTION_LISTEN_SOCKET,
                                 fd, MHD_OPTION_CONNECTION_LIMIT, MAX_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
                                 TIMEOUT_SECONDS, MHD_OPTION_END);
    if (m->daemon == NULL) {
        close(fd);
        free(m->path);
        free(m);
        return err_set(ERR_AGAIN, "--metrics %s: the server cannot be started", address);
    }
    *out = m;
    return 0;
}

void monitor_set_ready(struct monitor *m)
{
    __atomic_store_n(&m->ready, true, __ATOMIC_RELAXED);
}

void monitor_close(struct monitor **pointer)
{
    struct monitor *m = *pointer;
    if (m == NULL)
        return;
    MHD_stop_daemon(m->daemon);
    if (m->path)
        unlink(m->path);
    free(m->path);
    free(m);
    *pointer = NULL;
}
