/*
 * Preloaded into the programs under test: the NOMALLOC_AT-th allocation of the process NOMALLOC_PROGRAM fails; with
 * NOMALLOC_ONCE, a file to be made, of the first process alone. To NOMALLOC_LOG it writes how many were counted, and
 * who asked for the first that failed.
 *
 * With NOMALLOC_FORKS, a file: as long as the process has one thread and what NOMALLOC_UNTIL names is not there, it
 * forks at each allocation that NOMALLOC_STEP does not pass over, which fails for the child, in an empty directory. A
 * child that ended with 75, said something and left nothing there has ended well. The numbers of all others go to the
 * file, each with its exit code, and without one those of the allocations that came later.
 *
 * Not counted, since these libraries end the process themselves when memory is gone: libzmq (alloc_assert), libpgm
 * (pgm_malloc), libstdc++ (operator new throws, which nothing between it and main catches), libgomp (gomp_fatal), and
 * the loader. Nor what glibc 2.36 asks for in getprotobyname_r (which libpgm calls in zmq_ctx_new) and fts_open: it
 * then uses a null pointer.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_SECONDS 120
#define ENDED_WELL (75 << 8)

void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

static const char *const excluded[] = {"/libzmq.", "/libpgm-", "/libstdc++.", "/libgomp.", "/ld-linux"};

static bool counting;
static _Thread_local bool excused;
static unsigned long fail_at, step = 1; /* 0: none */
static int forks = -1;
static const char *until;
static atomic_ulong count;
static char asked[200];

int getprotobyname_r(const char *name, struct protoent *result, char *buffer, size_t len, struct protoent **found)
{
    int (*real)(const char *, struct protoent *, char *, size_t, struct protoent **) = dlsym(RTLD_NEXT, __func__);
    excused = true;
    int rc = real(name, result, buffer, len, found);
    excused = false;
    return rc;
}

FTS *fts_open(char *const *paths, int options, int (*compare)(const FTSENT **, const FTSENT **))
{
    FTS *(*real)(char *const *, int, int (*)(const FTSENT **, const FTSENT **)) = dlsym(RTLD_NEXT, __func__);
    excused = true;
    FTS *tree = real(paths, options, compare);
    excused = false;
    return tree;
}

static void write_log(void)
{
    char text[256];
    const char *path = getenv("NOMALLOC_LOG");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : -1;
    int len = snprintf(text, sizeof text, "%lu %s\n", (unsigned long)count, asked);
    if (fd >= 0 && write(fd, text, (size_t)len) == len)
        close(fd);
}

/* Of a program that is started again, the first process alone. */
static bool is_first(void)
{
    const char *path = getenv("NOMALLOC_ONCE");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
    if (fd >= 0)
        close(fd);
    return !path || fd >= 0;
}

static bool can_fork(void)
{
    struct stat st;
    return stat("/proc/self/task", &st) == 0 && st.st_nlink == 3 && access(until, F_OK) < 0;
}

/* True in the child, for whom the allocation is to fail. Nothing here allocates, as dprintf would. */
static bool fork_to_fail(unsigned long number)
{
    char dir[32], line[32];
    struct stat before, after;
    int status = -1;
    bool well = false;
    snprintf(dir, sizeof dir, "fork.%lu", number);
    if (can_fork() && mkdir(dir, 0777) == 0 && fstat(STDERR_FILENO, &before) == 0) {
        pid_t pid = fork();
        if (pid == 0) {
            counting = false;
            alarm(CHILD_SECONDS);
            return chdir(dir) == 0;
        }
        well = pid > 0 && waitpid(pid, &status, 0) == pid && status == ENDED_WELL &&
               fstat(STDERR_FILENO, &after) == 0 && after.st_size > before.st_size && rmdir(dir) == 0;
    }
    int len = status >= 0 && WIFEXITED(status) ? snprintf(line, sizeof line, "%lu %d\n", number, WEXITSTATUS(status))
                                               : snprintf(line, sizeof line, "%lu\n", number);
    if (!well && write(forks, line, (size_t)len) != len)
        abort();
    return false;
}

static bool fails(void *caller)
{
    Dl_info info;
    if (!counting || excused || dladdr(caller, &info) == 0 || !info.dli_fname)
        return false;
    for (size_t i = 0; i < sizeof excluded / sizeof *excluded; i++)
        if (strstr(info.dli_fname, excluded[i]))
            return false;
    unsigned long number = atomic_fetch_add(&count, 1) + 1;
    bool now = forks >= 0 ? number % step == 1 % step && fork_to_fail(number) : number == fail_at && is_first();
    if (!now)
        return false;
    snprintf(asked, sizeof asked, "%s+%#lx %s", info.dli_fname,
             (unsigned long)((char *)caller - (char *)info.dli_fbase), info.dli_sname ? info.dli_sname : "");
    write_log(); /* it may be the last that it does */
    errno = ENOMEM;
    return true;
}

void *malloc(size_t bytes)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(bytes);
}

void *calloc(size_t n, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t bytes)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(p, bytes);
}

int posix_memalign(void **p, size_t alignment, size_t bytes)
{
    if (fails(__builtin_return_address(0)))
        return ENOMEM;
    *p = __libc_memalign(alignment, bytes);
    return *p ? 0 : ENOMEM;
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, bytes);
}

__attribute__((constructor)) static void begin(void)
{
    const char *program = getenv("NOMALLOC_PROGRAM"), *at = getenv("NOMALLOC_AT"), *to = getenv("NOMALLOC_FORKS"),
               *every = getenv("NOMALLOC_STEP");
    if (!program || strcmp(program, program_invocation_short_name) != 0)
        return;
    fail_at = at ? strtoul(at, NULL, 10) : 0;
    if (to && every) {
        until = getenv("NOMALLOC_UNTIL");
        step = strtoul(every, NULL, 10);
        forks = open(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    }
    counting = true;
}

__attribute__((destructor)) static void end(void)
{
    if (!counting)
        return;
    counting = false;
    write_log();
}
