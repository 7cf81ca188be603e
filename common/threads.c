/* Threads that work beside the main one. */
#include "common/threads.h"
#include "common/err.h"
#include <signal.h>
#include <string.h>

int threads_start(pthread_t *threads, int count, void *(*run)(void *self), void *self, const char *doing)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL}; /* a thread's own: a damaged store's are caught */
    sigset_t blocked, before;
    int started = 0, failed = 0;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    while (started < count && (failed = pthread_create(&threads[started], NULL, run, self)) == 0)
        started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started ? started : err_set(ERR_AGAIN, "no thread to %s: %s", doing, strerror(failed));
}
