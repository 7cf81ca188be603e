/* libFuzzer: a pipeline file. What is read must print as a shell reads it, and have one store at its end. */
#include "common/mem.h"
#include "pipelines/run_plan.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char dir[] = "/tmp/fuzz-plan-XXXXXX"; /* where words name nothing */
    static int fd = -1;
    struct plan p;
    if (fd < 0 && mkdtemp(dir) && chdir(dir) == 0)
        fd = open("pipe", O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    if (plan_read(&p, "pipe", "bin", "dir") == 0) {
        size_t last = p.count - 1;
        if (p.count < 2 || !p.store || strcmp(p.steps[last].name, "store") != 0 || strlen(p.run) == 0)
            abort();
        for (size_t i = 0; i < p.count; i++)
            if (p.steps[i].copies < 1 || p.steps[i].copies > PLAN_MAX_COPIES || !p.steps[i].argv[0])
                abort();
    }
    plan_free(&p);
    return 0;
}
