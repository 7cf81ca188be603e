/*
 * Records that came before their turn (store_private.h): a ring by id, which grows with the distance of the ids. What
 * does not fit into memory waits in a file without a name in the store's directory.
 */
#include "common/err.h"
#include "common/store_private.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_SLOTS 1024u
#define MEMORY_BYTES ((size_t)128 << 20)

struct slot {
    unsigned char *data; /* NULL: in the file */
    uint64_t at;         /* its place there */
    uint32_t len;        /* 0: nothing waits here */
};

struct window {
    struct slot *slots; /* id waits at id % count */
    uint64_t count;     /* a power of two */
    size_t waiting, in_memory;
    const char *dir;
    int fd; /* -1: no file yet */
    uint64_t end;
};

struct window *window_new(const char *dir)
{
    struct window *w = xcalloc(1, sizeof *w);
    w->dir = dir;
    w->fd = -1;
    w->count = FIRST_SLOTS;
    w->slots = xcalloc(w->count, sizeof *w->slots);
    return w;
}

size_t window_waiting(const struct window *w)
{
    return w->waiting;
}

static struct slot *slot_of(const struct window *w, uint64_t id)
{
    return &w->slots[id % w->count];
}

/* A ring of `count` slots, whose ids are from `first` on. */
static void grow(struct window *w, uint64_t first, uint64_t count)
{
    struct window wide = {.slots = xcalloc(count, sizeof *w->slots), .count = count};
    for (uint64_t id = first; id < first + w->count; id++)
        *slot_of(&wide, id) = *slot_of(w, id);
    free(w->slots);
    w->slots = wide.slots;
    w->count = count;
}

static int write_out(struct window *w, const struct buf *value)
{
    if (w->fd < 0)
        w->fd = open(w->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (w->fd < 0)
        return err_sys("%s: cannot make a file for records that wait", w->dir);
    for (size_t done = 0; done < value->len;) {
        ssize_t n = pwrite(w->fd, value->data + done, value->len - done, (off_t)(w->end + done));
        if (n < 0 && errno != EINTR)
            return err_sys("%s: cannot write records that wait", w->dir);
        done += n > 0 ? (size_t)n : 0;
    }
    w->end += value->len;
    return 0;
}

int window_put(struct window *w, uint64_t first, uint64_t id, const struct buf *value)
{
    uint64_t count = w->count;
    while (id - first >= count)
        count *= 2;
    if (count > w->count)
        grow(w, first, count);
    struct slot *slot = slot_of(w, id);
    if (slot->len > 0)
        return 0;
    struct slot new = {.at = w->end, .len = (uint32_t)value->len};
    if (w->in_memory + value->len > MEMORY_BYTES) {
        if (write_out(w, value) < 0)
            return -1;
    } else {
        new.data = memcpy(xmalloc(value->len), value->data, value->len);
        w->in_memory += value->len;
    }
    *slot = new;
    w->waiting++;
    return 0;
}

static int read_back(struct window *w, const struct slot *slot, struct buf *value)
{
    for (size_t done = 0; done < slot->len;) {
        ssize_t n = pread(w->fd, value->data + done, slot->len - done, (off_t)(slot->at + done));
        if (n == 0 || (n < 0 && errno != EINTR))
            return n < 0 ? err_sys("%s: cannot read records that wait", w->dir)
                         : err_set(ERR_IO, "%s: records that wait were cut", w->dir);
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

int window_take(struct window *w, uint64_t id, struct buf *value)
{
    struct slot *slot = slot_of(w, id);
    value->len = 0;
    if (slot->len == 0)
        return 0;
    buf_reserve(value, slot->len);
    if (slot->data == NULL && read_back(w, slot, value) < 0)
        return -1;
    if (slot->data) {
        memcpy(value->data, slot->data, slot->len);
        w->in_memory -= slot->len;
    }
    value->len = slot->len;
    free(slot->data);
    *slot = (struct slot){0};
    w->waiting--;
    if (w->waiting == 0 && w->end > 0) {
        w->end = 0;
        if (ftruncate(w->fd, 0) < 0)
            return err_sys("%s: cannot free the file of records that wait", w->dir);
    }
    return 1;
}

void window_free(struct window **pointer)
{
    struct window *w = *pointer;
    if (w == NULL)
        return;
    for (uint64_t i = 0; i < w->count; i++)
        free(w->slots[i].data);
    if (w->fd >= 0)
        close(w->fd);
    free(w->slots);
    free(w);
    *pointer = NULL;
}
