/*
 * Device memory, and what is said when a kernel leaves it.
 */
#include "tests/emulator/fibre.h"
#include "tests/emulator/internal.h"
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <list>
#include <sys/mman.h>
#include <ucontext.h>

enum {
    ALIGNMENT = 64, /* bytes, of device memory; a device's own is 256, but the gap to the guard page would grow */
    CANARY = 0xC9,
    SIGNAL_STACK = 64 << 10,
};

static int poison = 0xFF;
static std::list<struct guarded> allocations;

static struct account {
    size_t now, most; /* bytes */
    ~account()
    {
        if (getenv("ATELIER_EMULATOR_LOG"))
            fprintf(stderr, "emulator: %zu bytes at most\n", most);
    }
} account;

size_t emulator_memory(void)
{
    return account.now;
}

void emulator_set_poison(int byte)
{
    poison = byte;
}

int emulator_poison(void)
{
    return poison;
}

struct guarded guarded_alloc(size_t bytes, size_t alignment)
{
    struct guarded g = {nullptr, (bytes + alignment + EMULATOR_PAGE - 1) / EMULATOR_PAGE * EMULATOR_PAGE, nullptr, 0};
    void *p =
        mmap(nullptr, g.page_bytes + 2 * EMULATOR_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return g;
    g.pages = (unsigned char *)p + EMULATOR_PAGE;
    mprotect(g.pages, g.page_bytes, PROT_READ | PROT_WRITE);
    guarded_place(&g, bytes, alignment);
    return g;
}

void guarded_free(const struct guarded *g)
{
    munmap(g->pages - EMULATOR_PAGE, g->page_bytes + 2 * EMULATOR_PAGE);
}

/* The pages' part before the data is a gap as far as one more page. */
static unsigned char *gap_start(const struct guarded *g)
{
    return g->data - g->pages > EMULATOR_PAGE ? g->data - EMULATOR_PAGE : g->pages;
}

void guarded_place(struct guarded *g, size_t bytes, size_t alignment)
{
    g->bytes = bytes;
    g->data = g->pages + g->page_bytes - (bytes + alignment - 1) / alignment * alignment;
    memset(gap_start(g), CANARY, (size_t)(g->data - gap_start(g)));
    memset(g->data + bytes, CANARY, (size_t)(g->pages + g->page_bytes - g->data) - bytes);
}

static void check_gap(const struct guarded *g, const unsigned char *from, const unsigned char *to, const char *what)
{
    static unsigned char canaries[EMULATOR_PAGE];
    if (!canaries[0])
        memset(canaries, CANARY, sizeof canaries);
    if (from == to || memcmp(from, canaries, (size_t)(to - from)) == 0)
        return;
    while (*from == CANARY)
        from++;
    emulator_fail("something has written to byte %td of %zu bytes of %s", from - g->data, g->bytes, what);
}

void guarded_check(const struct guarded *g, const char *what)
{
    check_gap(g, gap_start(g), g->data, what);
    check_gap(g, g->data + g->bytes, g->pages + g->page_bytes, what);
}

void memory_check(void)
{
    for (const struct guarded &g : allocations)
        guarded_check(&g, "device memory");
}

bool memory_describe(char *text, size_t size, const void *address)
{
    auto *p = (const unsigned char *)address;
    for (const struct guarded &g : allocations)
        if (p >= g.pages - EMULATOR_PAGE && p < g.pages + g.page_bytes + EMULATOR_PAGE) {
            snprintf(text, size, "byte %td of an allocation of %zu bytes", p - g.data, g.bytes);
            return true;
        }
    return false;
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
    if (!block_kernel()) {
        ::signal(signal, SIG_DFL);
        return;
    }
    char where[128];
    bool write = ((const ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & 2;
    if (fibre_guards(info->si_addr))
        snprintf(where, sizeof where, "the guard of its stack");
    else if (!block_describe(where, sizeof where, info->si_addr) &&
             !memory_describe(where, sizeof where, info->si_addr))
        snprintf(where, sizeof where, "address %p, which is no device memory", info->si_addr);
    emulator_fail("%s %s", write ? "writes to" : "reads", where);
}

static void watch_faults(void)
{
    static bool watched;
    static unsigned char stack[SIGNAL_STACK];
    if (watched)
        return;
    watched = true;
    stack_t alternative = {};
    alternative.ss_sp = stack;
    alternative.ss_size = sizeof stack;
    sigaltstack(&alternative, nullptr);
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, nullptr);
}

cudaError_t emulator_malloc(void **p, size_t bytes)
{
    watch_faults();
    *p = nullptr;
    if (bytes > (size_t)1 << 46)
        return cudaErrorMemoryAllocation;
    struct guarded g = guarded_alloc(bytes, ALIGNMENT);
    if (!g.pages)
        return cudaErrorMemoryAllocation;
    memset(g.data, poison, bytes);
    allocations.push_back(g);
    account.now += bytes;
    account.most = account.now > account.most ? account.now : account.most;
    *p = g.data;
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    if (!p)
        return cudaSuccess;
    for (auto i = allocations.begin(); i != allocations.end(); ++i)
        if (i->data == p) {
            guarded_check(&*i, "device memory");
            account.now -= i->bytes;
            guarded_free(&*i);
            allocations.erase(i);
            return cudaSuccess;
        }
    emulator_fail("cudaFree of what cudaMalloc did not give, or twice");
}

cudaError_t emulator_malloc_host(void **p, size_t bytes)
{
    *p = malloc(bytes);
    return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *p)
{
    free(p);
    return cudaSuccess;
}
