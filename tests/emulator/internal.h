/*
 * What the emulator's files share.
 */
#ifndef ATELIER_TESTS_EMULATOR_INTERNAL_H
#define ATELIER_TESTS_EMULATOR_INTERNAL_H

#include <cuda_runtime.h>

#include "tests/emulator/emulator.h"

/* Says what is wrong, and in which thread of which kernel where one runs, and aborts. */
[[noreturn]] void emulator_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

int emulator_poison(void);

/* Pages between guard pages; `bytes` lie at their end, up to alignment. */
struct guarded {
    unsigned char *pages;
    size_t page_bytes; /* without the guard pages */
    unsigned char *data;
    size_t bytes;
};
enum { EMULATOR_PAGE = 4096 };
struct guarded guarded_alloc(size_t bytes, size_t alignment);
void guarded_free(const struct guarded *g);
void guarded_place(struct guarded *g, size_t bytes, size_t alignment); /* of at most page_bytes; fills the gaps */
void guarded_check(const struct guarded *g, const char *what);         /* fails where a gap was written to */

size_t emulator_memory(void); /* bytes of device memory that are allocated */

void memory_check(void);                                            /* all device memory's gaps */
bool memory_describe(char *text, size_t size, const void *address); /* false: no device memory near */

/* Of the block that runs: its kernel and shared memory; NULL where none runs. */
const char *block_kernel(void);
bool block_describe(char *text, size_t size, const void *address);

/* cp.async of the running thread: entries wait until copies_wait lets all but the last `groups` groups through. */
void copies_add(void *to, const void *from, size_t bytes, bool valid);
void copies_commit(void);
void copies_wait(int groups);

/* Accesses to shared memory, of which those that race end the program (races.cc). The running thread's place, and how
 * often its block and its warp have been brought together. */
enum { EMULATOR_SHARED_LIMIT = 227 << 10 /* bytes: compute capability 9.0 */ };
void races_watch(const void *shared, size_t bytes);
void races_access(const void *p, size_t bytes, bool write);
void block_now(unsigned *barriers, unsigned *syncs, short *warp, short *lane);

#endif
