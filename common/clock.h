/* Clocks, in seconds as a double. */
#ifndef ATELIER_COMMON_CLOCK_H
#define ATELIER_COMMON_CLOCK_H

#include <time.h>

static inline double clock_seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* For lengths of time: steady, from any start. */
static inline double clock_now(void)
{
    return clock_seconds(CLOCK_MONOTONIC);
}

#endif
