/*
 * Fibres (fibre.h) for x86-64 under the System V ABI.
 */
#include "tests/emulator/fibre.h"
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>

enum {
    STACK_BYTES = 256 << 10,
    GUARD_BYTES = 64 << 10, /* more than a frame takes */
    STACKS_AT_ONCE = 64,
};

/* Callee-saved registers go to the old stack and come from the new one. */
asm(".text\n"
    ".globl fibre_switch\n"
    ".type fibre_switch, @function\n"
    "fibre_switch:\n"
    "    push %rbp\n"
    "    push %rbx\n"
    "    push %r12\n"
    "    push %r13\n"
    "    push %r14\n"
    "    push %r15\n"
    "    mov %rsp, (%rdi)\n"
    "    mov %rsi, %rsp\n"
    "    pop %r15\n"
    "    pop %r14\n"
    "    pop %r13\n"
    "    pop %r12\n"
    "    pop %rbx\n"
    "    pop %rbp\n"
    "    ret\n"
    ".size fibre_switch, .-fibre_switch\n");

static struct fibre_stack *unused;
static struct range {
    struct range *next;
    unsigned char *start;
} * ranges;

static void add_stacks(void)
{
    auto *range = (struct range *)malloc(sizeof(struct range));
    void *p = mmap(nullptr, (size_t)STACK_BYTES * STACKS_AT_ONCE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED || !range) {
        perror("emulator: no memory for stacks");
        abort();
    }
    *range = {ranges, (unsigned char *)p};
    ranges = range;
    for (int i = STACKS_AT_ONCE - 1; i >= 0; i--) {
        auto *stack = (struct fibre_stack *)malloc(sizeof(struct fibre_stack));
        *stack = {unused, range->start + (size_t)i * STACK_BYTES};
        mprotect(stack->pages, GUARD_BYTES, PROT_NONE);
        unused = stack;
    }
}

struct fibre_stack *fibre_stack_take(void)
{
    if (!unused)
        add_stacks();
    struct fibre_stack *stack = unused;
    unused = stack->next;
    return stack;
}

void fibre_stack_give(struct fibre_stack *stack)
{
    stack->next = unused;
    unused = stack;
}

bool fibre_guards(const void *address)
{
    for (const struct range *r = ranges; r; r = r->next) {
        ptrdiff_t at = (const unsigned char *)address - r->start;
        if (at >= 0 && at < (ptrdiff_t)STACK_BYTES * STACKS_AT_ONCE)
            return at % STACK_BYTES < GUARD_BYTES;
    }
    return false;
}

void *fibre_prepare(struct fibre_stack *stack, void (*body)(void))
{
    /* Stacks start at different offsets, or they would all compete for the same lines of the cache. */
    size_t colour = (uintptr_t)stack->pages / STACK_BYTES % 16 * 192;
    auto **top = (void **)(stack->pages + STACK_BYTES - 64 - colour);
    *--top = nullptr; /* where body would return to */
    *--top = (void *)body;
    for (int i = 0; i < 6; i++)
        *--top = nullptr;
    return top;
}
