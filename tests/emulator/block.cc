/*
 * Blocks: a fibre for each thread, turns, barriers, warp operations, shared memory.
 */
#include "tests/emulator/fibre.h"
#include "tests/emulator/internal.h"
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

enum {
    THREADS = 1024, /* of a block, at most */
    COPIES = 256,   /* of a thread, waiting */
};

enum state { READY, AT_BARRIER, AT_COLLECT, DONE };

struct copy {
    void *to;
    const void *from;
    size_t bytes;
    bool valid;
};

struct thread {
    enum state state;
    uint3 index;
    void *sp;
    struct fibre_stack *stack; /* NULL: not begun */
    const char *file;          /* the barrier's place */
    int line;
    bool vote;
    const char *operation; /* the collective's */
    unsigned mask;
    const void *given;
    void *result;
    struct copy copies[COPIES];
    int copy_count, groups, group_end[COPIES];
};

/* Lanes of a warp that wait for each other. */
struct group {
    const char *operation;
    unsigned mask, arrived;
};

struct warp {
    unsigned ended; /* lanes */
    unsigned syncs; /* of all its lanes */
    int groups;
    struct group group[EMULATOR_WARP];
};

struct emulator_place emulator_place;

static struct {
    const char *kernel; /* NULL: none runs */
    const std::function<void()> *body;
    int count, done, arrived, votes, running;
    void *sp; /* the scheduler's */
    struct guarded shared;
    size_t shared_bytes;
    unsigned barriers; /* of all blocks so far, their beginnings included */
} block;
static struct thread threads[THREADS];
static struct warp warps[THREADS / EMULATOR_WARP];
static bool reversed;

void emulator_set_reversed(bool on)
{
    reversed = on;
}

const char *block_kernel(void)
{
    return block.kernel;
}

bool block_describe(char *text, size_t size, const void *address)
{
    auto *p = (const unsigned char *)address;
    if (!block.shared.pages || p < block.shared.pages - EMULATOR_PAGE ||
        p >= block.shared.pages + block.shared.page_bytes + EMULATOR_PAGE)
        return false;
    snprintf(text, size, "byte %td of %zu bytes of shared memory", p - block.shared.data, block.shared_bytes);
    return true;
}

void emulator_fail(const char *format, ...)
{
    const struct emulator_place *p = &emulator_place;
    fflush(stdout);
    fprintf(stderr, "emulator: ");
    if (block.kernel)
        fprintf(stderr, "%s, block (%u, %u, %u), thread (%u, %u, %u): ", block.kernel, p->block.x, p->block.y,
                p->block.z, p->thread.x, p->thread.y, p->thread.z);
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

unsigned char *emulator_shared(void)
{
    return block.shared.data;
}

static void yield(void)
{
    fibre_switch(&threads[block.running].sp, block.sp);
}

static void blame(int thread)
{
    emulator_place.thread = threads[thread].index;
}

/* The first line of a thread's life; it ends in another thread's turn. */
static void thread_body(void)
{
    (*block.body)();
    struct thread *t = &threads[block.running];
    if (t->copy_count)
        emulator_fail("ends before its cp.async were waited for");
    t->state = DONE;
    warps[block.running / EMULATOR_WARP].ended |= 1u << emulator_lane();
    block.done++;
    if (block.arrived)
        emulator_fail("ends while others wait at a barrier");
    yield();
    abort();
}

void emulator_barrier(const char *file, int line)
{
    emulator_barrier_count(false, file, line);
}

int emulator_barrier_count(bool vote, const char *file, int line)
{
    struct thread *t = &threads[block.running];
    t->file = file;
    t->line = line;
    t->vote = vote;
    if (block.done)
        emulator_fail("waits at the barrier of %s:%d, but %d threads have ended", file, line, block.done);
    if (++block.arrived < block.count) {
        t->state = AT_BARRIER;
        yield();
        return block.votes;
    }
    block.arrived = block.votes = 0;
    block.barriers++;
    for (int i = 0; i < block.count; i++) {
        if (threads[i].line != line || strcmp(threads[i].file, file) != 0)
            emulator_fail("waits at the barrier of %s:%d, thread %d at that of %s:%d", file, line, i, threads[i].file,
                          threads[i].line);
        block.votes += threads[i].vote;
        threads[i].state = READY;
    }
    return block.votes;
}

int emulator_lane(void)
{
    return block.running % EMULATOR_WARP;
}

void block_now(unsigned *barriers, unsigned *syncs, short *warp, short *lane)
{
    *warp = (short)(block.running / EMULATOR_WARP);
    *lane = (short)(block.running % EMULATOR_WARP);
    *barriers = block.barriers;
    *syncs = warps[*warp].syncs;
}

void emulator_sync_complete(const struct emulator_warp *w)
{
    if (w->mask == 0xffffffffu)
        warps[block.running / EMULATOR_WARP].syncs++;
}

/* The group of a warp's lanes that came with this operation and mask; a new one for the first. */
static struct group *group_of(struct warp *w, const char *operation, unsigned mask)
{
    for (int i = 0; i < w->groups; i++) {
        struct group *g = &w->group[i];
        if (g->mask == mask && (g->operation == operation || strcmp(g->operation, operation) == 0))
            return g;
    }
    w->group[w->groups] = {operation, mask, 0};
    return &w->group[w->groups++];
}

void emulator_collect(const char *operation, emulator_complete *complete, unsigned mask, const void *given,
                      void *result)
{
    struct thread *t = &threads[block.running], *lanes = &threads[block.running / EMULATOR_WARP * EMULATOR_WARP];
    struct warp *w = &warps[block.running / EMULATOR_WARP];
    if (!(mask >> emulator_lane() & 1))
        emulator_fail("%s with mask %08x, which its own lane is not in", operation, mask);
    if (mask & w->ended)
        emulator_fail("%s with mask %08x, but lane %d has ended", operation, mask, __builtin_ctz(mask & w->ended));
    t->operation = operation;
    t->mask = mask;
    t->given = given;
    t->result = result;
    struct group *g = group_of(w, operation, mask);
    g->arrived |= 1u << emulator_lane();
    if (g->arrived != mask) {
        t->state = AT_COLLECT;
        yield();
        return;
    }
    *g = w->group[--w->groups];
    struct emulator_warp all = {mask, {}, {}};
    for (unsigned rest = mask; rest; rest &= rest - 1) {
        int i = __builtin_ctz(rest);
        all.given[i] = lanes[i].given;
        all.result[i] = lanes[i].result;
        lanes[i].state = READY;
    }
    complete(&all);
}

void emulator_shuffle_complete(const struct emulator_warp *w)
{
    for (int i = 0; i < EMULATOR_WARP; i++) {
        if (!(w->mask >> i & 1))
            continue;
        int source = ((const struct emulator_shuffle *)w->given[i])->source;
        if (!(w->mask >> source & 1))
            emulator_fail("lane %d shuffles from lane %d, which is not in mask %08x", i, source, w->mask);
        *(uint64_t *)w->result[i] = ((const struct emulator_shuffle *)w->given[source])->value;
    }
}

static void vote_complete(const struct emulator_warp *w)
{
    unsigned votes = 0;
    for (int i = 0; i < EMULATOR_WARP; i++)
        if (w->mask >> i & 1)
            votes |= (unsigned)*(const bool *)w->given[i] << i;
    for (int i = 0; i < EMULATOR_WARP; i++)
        if (w->mask >> i & 1)
            *(unsigned *)w->result[i] = votes;
}

unsigned emulator_votes(const char *operation, unsigned mask, bool vote)
{
    unsigned votes = 0;
    emulator_collect(operation, vote_complete, mask, &vote, &votes);
    return votes;
}

void copies_add(void *to, const void *from, size_t bytes, bool valid)
{
    struct thread *t = &threads[block.running];
    if (t->copy_count == COPIES)
        emulator_fail("more than %d cp.async wait", COPIES);
    races_access(to, bytes, true);
    memset(to, emulator_poison(), bytes);
    t->copies[t->copy_count++] = {to, from, bytes, valid};
}

void copies_commit(void)
{
    struct thread *t = &threads[block.running];
    if (t->groups == COPIES)
        copies_wait(COPIES - 1);
    t->group_end[t->groups++] = t->copy_count;
}

void copies_wait(int groups)
{
    struct thread *t = &threads[block.running];
    int ready = t->groups - groups;
    if (ready <= 0)
        return;
    int end = t->group_end[ready - 1];
    for (int i = 0; i < end; i++) {
        const struct copy *c = &t->copies[i];
        races_access(c->to, c->bytes, true);
        if (c->valid)
            memcpy(c->to, c->from, c->bytes);
        else
            memset(c->to, 0, c->bytes);
    }
    memmove(t->copies, t->copies + end, (size_t)(t->copy_count - end) * sizeof *t->copies);
    t->copy_count -= end;
    t->groups -= ready;
    for (int i = 0; i < t->groups; i++)
        t->group_end[i] = t->group_end[i + ready] - end;
}

static void take_turn(int i)
{
    struct thread *t = &threads[i];
    if (!t->stack) {
        t->stack = fibre_stack_take();
        t->sp = fibre_prepare(t->stack, thread_body);
    }
    block.running = i;
    emulator_place.thread = t->index;
    fibre_switch(&block.sp, t->sp);
    if (t->state == DONE) {
        fibre_stack_give(t->stack);
        t->stack = nullptr;
    }
}

/* All threads wait: for whom? */
[[noreturn]] static void deadlock(void)
{
    for (int i = 0; i < block.count; i++)
        if (threads[i].state == AT_COLLECT) {
            const struct thread *t = &threads[i], *lanes = &threads[i / EMULATOR_WARP * EMULATOR_WARP];
            for (int j = 0; j < EMULATOR_WARP; j++) {
                const struct thread *other = &lanes[j];
                bool same =
                    other->state == AT_COLLECT && other->mask == t->mask && strcmp(other->operation, t->operation) == 0;
                if (!(t->mask >> j & 1) || same)
                    continue;
                blame(i);
                emulator_fail("waits in %s with mask %08x for lane %d, which %s%s", t->operation, t->mask, j,
                              other->state == DONE         ? "has ended"
                              : other->state == AT_BARRIER ? "waits at a barrier"
                                                           : "is in ",
                              other->state == AT_COLLECT ? other->operation : "");
            }
        }
    for (int i = 0; i < block.count; i++)
        if (threads[i].state == AT_BARRIER) {
            blame(i);
            emulator_fail("waits at the barrier of %s:%d, which not all threads reach", threads[i].file,
                          threads[i].line);
        }
    emulator_fail("waits for nothing");
}

static void run_block(void)
{
    memset(block.shared.data, emulator_poison(), block.shared_bytes);
    block.done = block.arrived = 0;
    block.barriers++;
    for (int i = 0; i < block.count; i++)
        threads[i].state = READY;
    /* Lanes that the block does not have count as ended. */
    for (int i = 0; i <= (block.count - 1) / EMULATOR_WARP; i++) {
        int lanes = block.count - i * EMULATOR_WARP;
        warps[i].ended = lanes >= EMULATOR_WARP ? 0 : ~0u << lanes;
        warps[i].groups = 0;
    }
    while (block.done < block.count) {
        bool moved = false;
        for (int n = 0; n < block.count; n++) {
            int i = reversed ? block.count - 1 - n : n;
            if (threads[i].state != READY)
                continue;
            take_turn(i);
            moved = true;
        }
        if (!moved)
            deadlock();
    }
    guarded_check(&block.shared, "shared memory");
}

void emulator_run(const char *kernel, const void *address, dim3 grid, dim3 size, size_t shared,
                  const std::function<void()> &body)
{
    extern size_t emulator_shared_allowed(const void *kernel);
    size_t count = (size_t)size.x * size.y * size.z;
    if (count == 0 || count > THREADS || size.z > 64)
        emulator_fail("%s is launched with blocks of %u x %u x %u threads", kernel, size.x, size.y, size.z);
    if (grid.x == 0 || grid.x > INT32_MAX || grid.y - 1 > 65534 || grid.z - 1 > 65534)
        emulator_fail("%s is launched with a grid of %u x %u x %u", kernel, grid.x, grid.y, grid.z);
    if (shared > EMULATOR_SHARED_LIMIT || shared > emulator_shared_allowed(address))
        emulator_fail("%s is launched with %zu bytes of shared memory", kernel, shared);
    if (!block.shared.pages)
        block.shared = guarded_alloc(EMULATOR_SHARED_LIMIT, 16);
    guarded_place(&block.shared, shared, 16);
    races_watch(block.shared.data, shared);
    block.shared_bytes = shared;
    block.count = (int)count;
    block.body = &body;
    block.kernel = kernel;
    emulator_place.block_size = size;
    emulator_place.grid_size = grid;
    for (unsigned i = 0; i < count; i++)
        threads[i].index = {i % size.x, i / size.x % size.y, i / size.x / size.y};
    size_t blocks = (size_t)grid.x * grid.y * grid.z;
    for (size_t n = 0; n < blocks; n++) {
        size_t i = reversed ? blocks - 1 - n : n;
        emulator_place.block = {(unsigned)(i % grid.x), (unsigned)(i / grid.x % grid.y),
                                (unsigned)(i / grid.x / grid.y)};
        run_block();
    }
    memory_check();
    block.kernel = nullptr;
}
