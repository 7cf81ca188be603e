/*
 * A link's counters as metrics (link.h).
 */
#include "common/link.h"
#include "common/monitor.h"
#include <stdlib.h>

void link_counts_print(const struct link_counts *c, struct buf *out)
{
    static const struct {
        const char *name;
        size_t offset;
    } rows[] = {
        {"batches_total", offsetof(struct link_counts, batches)},
        {"records_total", offsetof(struct link_counts, items)},
        {"bytes_total", offsetof(struct link_counts, bytes)},
        {"settled_batches_total", offsetof(struct link_counts, settled)},
        {"resent_batches_total", offsetof(struct link_counts, resent)},
        {"deaths_total", offsetof(struct link_counts, deaths)},
        {"stale_messages_total", offsetof(struct link_counts, stale)},
        {"refused_messages_total", offsetof(struct link_counts, refused)},
        {"poisoned_records_total", offsetof(struct link_counts, poisoned)},
        {"peers", offsetof(struct link_counts, peers)},
        {"pending_records", offsetof(struct link_counts, pending_items)},
        {"pending_bytes", offsetof(struct link_counts, pending_bytes)},
        {"open_records", offsetof(struct link_counts, open_items)},
        {"open_bytes", offsetof(struct link_counts, open_bytes)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *name = xasprintf("link_%s", rows[i].name);
        monitor_add(out, name, c->role == LINK_FEEDER ? "end=\"out\"" : "end=\"in\"",
                    *(const uint64_t *)((const char *)c + rows[i].offset));
        free(name);
    }
}
