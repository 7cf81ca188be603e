/* Threads that work beside the main one. */
#ifndef ATELIER_COMMON_THREADS_H
#define ATELIER_COMMON_THREADS_H

#include <pthread.h>

/* Starts `count` threads of run(self), fewer where the system has no more: how many, or -1 where there is none, with an
 * error that says what they were to do. Signals are left to the main thread, whose waits they end. */
int threads_start(pthread_t *threads, int count, void *(*run)(void *self), void *self, const char *doing);

#endif
