/*
 * Races on shared memory: accesses of two threads to the same bytes, one of them a write, with no barrier between that
 * orders them. Kernels are compiled with calls before each access (-fsanitize=thread), which arrive here and not in
 * ThreadSanitizer's library. __syncthreads orders all threads of a block and __syncwarp those of a warp; shuffles,
 * votes and tensor-core instructions order nothing.
 */
#include "tests/emulator/internal.h"
#include <cstdio>

enum {
    GRAIN = 2, /* bytes that are told apart: no kernel shares single ones */
    SEVERAL = -1,
};

/* The last access to a grain. Reads between barriers may be of several lanes, and of several warps. */
struct touch {
    unsigned barriers, syncs;
    short warp, lane;
};

static struct grain {
    struct touch read, write;
} grains[EMULATOR_SHARED_LIMIT / GRAIN];

static const unsigned char *start;
static size_t length;

void races_watch(const void *shared, size_t bytes)
{
    start = (const unsigned char *)shared;
    length = bytes;
}

/* Whether nothing orders an earlier access and one that is made now. */
static bool concurrent(const struct touch *t, const struct touch *now)
{
    if (t->barriers != now->barriers || (t->warp == now->warp && t->lane == now->lane))
        return false;
    return t->warp != now->warp || t->syncs == now->syncs;
}

static void note_read(struct touch *t, const struct touch *now)
{
    if (t->barriers == now->barriers && t->warp != now->warp)
        t->warp = t->lane = SEVERAL;
    else if (concurrent(t, now))
        t->lane = SEVERAL;
    else
        *t = *now;
}

[[noreturn]] static void fail(const char *does, const char *did, const struct touch *t, size_t byte)
{
    char whom[64] = "other threads have";
    if (t->lane != SEVERAL)
        snprintf(whom, sizeof whom, "thread %d has", t->warp * EMULATOR_WARP + t->lane);
    emulator_fail("%s byte %zu of shared memory, which %s %s, with no barrier between", does, byte, whom, did);
}

void races_access(const void *p, size_t bytes, bool write)
{
    size_t at = (size_t)((const unsigned char *)p - start);
    if (at >= length)
        return;
    struct touch now;
    block_now(&now.barriers, &now.syncs, &now.warp, &now.lane);
    for (size_t i = at / GRAIN; i <= (at + bytes - 1) / GRAIN && i < length / GRAIN; i++) {
        struct grain *g = &grains[i];
        if (concurrent(&g->write, &now))
            fail(write ? "writes" : "reads", "written", &g->write, i * GRAIN);
        if (!write) {
            note_read(&g->read, &now);
            continue;
        }
        if (concurrent(&g->read, &now))
            fail("writes", "read", &g->read, i * GRAIN);
        g->write = now;
    }
}

/* What the compiler calls. */
extern "C" {
#define ACCESSES(bytes)                                                                                                \
    void __tsan_read##bytes(void *p)                                                                                   \
    {                                                                                                                  \
        races_access(p, bytes, false);                                                                                 \
    }                                                                                                                  \
    void __tsan_write##bytes(void *p)                                                                                  \
    {                                                                                                                  \
        races_access(p, bytes, true);                                                                                  \
    }
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)
#undef ACCESSES
void __tsan_read_range(void *p, unsigned long bytes)
{
    races_access(p, bytes, false);
}
void __tsan_write_range(void *p, unsigned long bytes)
{
    races_access(p, bytes, true);
}
void __tsan_vptr_update(void **, void *) {}
void __tsan_init(void) {}
}
