/*
 * Opens a table of kernels by the name of its device. CUDA's is in a library that is loaded on demand, so that programs
 * run where there is no CUDA: ATELIER_CUDA_LIBRARY, or libatelier-cuda.so in the folder lib beside the program's.
 */
#include "common/err.h"
#include "kernels/cuda/library.h"
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIBRARY "libatelier-cuda.so"

typedef const struct kernels *opener(int device, enum dtype compute, size_t table_bytes);
typedef int counter(void);

static void library_path(char path[PATH_MAX])
{
    const char *asked = getenv("ATELIER_CUDA_LIBRARY");
    char program[PATH_MAX - sizeof "/../lib/" LIBRARY];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = 0;
    char *slash = strrchr(program, '/');
    if (slash)
        *slash = 0;
    if (asked && *asked)
        snprintf(path, PATH_MAX, "%s", asked);
    else
        snprintf(path, PATH_MAX, "%s/../lib/" LIBRARY, program);
}

/* place: of the process, which takes the device of that place, counted round; -1: it takes `device`. */
static const struct kernels *open_cuda(int device, int place, enum dtype compute)
{
    char path[PATH_MAX];
    library_path(path);
    if (access(path, R_OK) != 0) {
        err_set(ERR_USAGE,
                "no CUDA here: %s is missing (`make` builds it where CUDA's compiler nvcc is); use --device cpu", path);
        return NULL;
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    opener *open = library ? (opener *)dlsym(library, "kernels_cuda") : NULL;
    counter *count = library ? (counter *)dlsym(library, "kernels_cuda_count") : NULL;
    if (!open || !count) {
        err_set(ERR_USAGE, "the CUDA library does not load: %s; install what it needs, or use --device cpu", dlerror());
        return NULL;
    }
    if (place >= 0)
        device = count() > 0 ? place % count() : 0;
    const struct kernels *k = open(device, compute, sizeof *k);
    if (!k)
        err_wrap("--device cuda (--device cpu does without)");
    return k;
}

static bool is_numbered(const char *device, int *number)
{
    char *end;
    if (strncmp(device, "cuda", 4) != 0 || !device[4])
        return false;
    long n = strtol(device + 5, &end, 10);
    *number = (int)n;
    return device[4] == ':' && device[5] >= '0' && device[5] <= '9' && !*end && n < INT_MAX;
}

const struct kernels *kernels_open_own(const char *device, int place, enum dtype compute)
{
    int number;
    if (is_numbered(device, &number))
        return open_cuda(number, -1, compute);
    if (!strcmp(device, "cuda"))
        return open_cuda(0, place, compute);
    bool automatic = !strcmp(device, "auto");
    if (!automatic && strcmp(device, "cpu") != 0) {
        err_set(ERR_USAGE, "--device %s: no such device; cpu, cuda, cuda:N (N from 0) and auto are known", device);
        return NULL;
    }
    const struct kernels *k = automatic ? open_cuda(0, place, compute) : NULL;
    if (k)
        return k;
    return kernels_cpu();
}

const struct kernels *kernels_open(const char *device, enum dtype compute)
{
    return kernels_open_own(device, 0, compute);
}
