/*
 * Things under consecutive numbers (link_private.h): found by number in constant time, whatever order they go in.
 */
#include "common/link_private.h"
#include <stdlib.h>

#define FIRST_CAP 64

static void grow(struct link_ring *ring)
{
    size_t cap = ring->cap ? 2 * ring->cap : FIRST_CAP;
    void **slots = xcalloc(cap, sizeof *slots);
    for (uint64_t n = ring->first; n < ring->next; n++)
        slots[n & (cap - 1)] = ring->slots[n & (ring->cap - 1)];
    free(ring->slots);
    ring->slots = slots;
    ring->cap = cap;
}

uint64_t link_ring_add(struct link_ring *ring, void *thing)
{
    if (ring->next == 0)
        ring->first = ring->next = 1;
    if (ring->next - ring->first == ring->cap)
        grow(ring);
    ring->slots[ring->next & (ring->cap - 1)] = thing;
    return ring->next++;
}

void *link_ring_get(const struct link_ring *ring, uint64_t number)
{
    return number >= ring->first && number < ring->next ? ring->slots[number & (ring->cap - 1)] : NULL;
}

void link_ring_remove(struct link_ring *ring, uint64_t number)
{
    ring->slots[number & (ring->cap - 1)] = NULL;
    while (ring->first < ring->next && ring->slots[ring->first & (ring->cap - 1)] == NULL)
        ring->first++;
}
