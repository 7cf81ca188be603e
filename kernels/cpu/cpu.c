/*
 * The CPU's tables: the plain one, and the fast one that overrides its operations where this machine's instructions
 * allow.
 */
#include "common/err.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/plain.h"
#include <omp.h>
#include <stdlib.h>
#include <string.h>

static int threads;

void kernels_set_threads(int n)
{
    threads = n > 0 ? n : omp_get_num_procs();
}

int kernels_threads(void)
{
    if (!threads)
        kernels_set_threads(0);
    return threads;
}

const struct kernels *kernels_plain(void)
{
    static struct kernels table;
    if (!table.name) {
        plain_memory(&table);
        plain_elementwise(&table);
        plain_products(&table);
        plain_convolution(&table);
        plain_inference(&table);
        plain_pictures(&table);
        plain_normalisation(&table);
        plain_embedding(&table);
        plain_attention(&table);
        plain_losses(&table);
        plain_relaxation(&table);
        plain_optimizer(&table);
        table.name = "plain";
        table.compute = F32;
    }
    return &table;
}

static const struct kernels *fast(struct kernels *table, const char *name, void (*fill)(struct kernels *))
{
    if (!table->name) {
        *table = *kernels_plain();
        fill(table);
        table->name = name;
    }
    return table;
}

const struct kernels *kernels_cpu(void)
{
    static struct kernels avx2, avx512;
    bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    const char *wanted = getenv("ATELIER_CPU");
    if (!wanted || !*wanted)
        wanted = has_avx512 ? "avx512" : has_avx2 ? "avx2" : "plain";
    if (!strcmp(wanted, "plain"))
        return kernels_plain();
    if (!strcmp(wanted, "avx2") && has_avx2)
        return fast(&avx2, "avx2", kernels_avx2_fill);
    if (!strcmp(wanted, "avx512") && has_avx512)
        return fast(&avx512, "avx512", kernels_avx512_fill);
    err_set(ERR_USAGE, "ATELIER_CPU=%s: this machine runs plain%s%s; ask for one of these or leave it unset", wanted,
            has_avx2 ? ", avx2" : "", has_avx512 ? ", avx512" : "");
    return NULL;
}
