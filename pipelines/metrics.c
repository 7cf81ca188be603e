/*
 * Reads the metrics of a program (metrics.h).
 */
#include "pipelines/metrics.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_ANSWER_BYTES ((size_t)1 << 20)
#define ANSWER_SECONDS 1

void metrics_ask(const char *socket_path, struct buf *answer)
{
    static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
    const struct timeval limit = {.tv_sec = ANSWER_SECONDS};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    answer->len = 0;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 &&
        connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        send(fd, request, sizeof request - 1, MSG_NOSIGNAL) == sizeof request - 1) {
        ssize_t got = 1;
        while (got > 0 && answer->len < MAX_ANSWER_BYTES) {
            buf_reserve(answer, 4096);
            got = recv(fd, answer->data + answer->len, 4096, 0);
            answer->len += got > 0 ? (size_t)got : 0;
        }
    }
    if (fd >= 0)
        close(fd);
    buf_string(answer);
}

uint64_t metrics_value(const struct buf *answer, const char *name)
{
    char *start = xasprintf("\natelier_%s ", name);
    const char *line = strstr((const char *)answer->data, start);
    uint64_t value = line ? strtoull(line + strlen(start), NULL, 10) : 0;
    free(start);
    return value;
}
