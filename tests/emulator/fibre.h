/*
 * Fibres: stacks that take turns on one processor thread.
 */
#ifndef ATELIER_TESTS_EMULATOR_FIBRE_H
#define ATELIER_TESTS_EMULATOR_FIBRE_H

struct fibre_stack {
    struct fibre_stack *next;
    unsigned char *pages; /* the lowest of which are a guard */
};

struct fibre_stack *fibre_stack_take(void); /* a used one where there is one */
void fibre_stack_give(struct fibre_stack *stack);
bool fibre_guards(const void *address); /* whether it lies in the guard of a stack */

/* The stack pointer from which fibre_switch starts `body`, which must not return. */
void *fibre_prepare(struct fibre_stack *stack, void (*body)(void));

/* Keeps this stack's pointer in *from and goes on at `to`. */
extern "C" void fibre_switch(void **from, void *to);

#endif
