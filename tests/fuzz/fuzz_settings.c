/*
 * libFuzzer: the settings of a training. The first byte picks the task; then NAME=VALUE lines as options, and behind a
 * byte of 255 the settings.json that a run left.
 */
#include "common/mem.h"
#include "trainer/settings.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum task_bit tasks[] = {TASK_DVAE, TASK_PRIOR, TASK_CLIP};
    static char name[] = "/tmp/fuzz-settings-XXXXXX";
    static int fd = -1;
    struct settings s;
    struct buf json = {0};
    if (size == 0)
        return 0;
    if (fd < 0 && (fd = mkstemp(name)) < 0)
        abort();
    enum task_bit task = tasks[data[0] % 3];
    const uint8_t *file = memchr(data, 255, size);
    char *text = xasprintf("%.*s", (int)((file ? file : data + size) - data - 1), (const char *)data + 1), *rest = text;
    settings_init(&s);
    for (char *line; (line = strsep(&rest, "\n"));) {
        char *value = strchr(line, '=');
        if (value)
            *value++ = 0;
        settings_set(&s, task, line, value ? value : "");
    }
    if (settings_check(&s, task) == 0)
        settings_to_json(&s, task, &json);
    if (file) {
        size_t len = (size_t)(data + size - file) - 1;
        if (ftruncate(fd, 0) < 0 || pwrite(fd, file + 1, len, 0) != (ssize_t)len)
            abort();
        settings_tell_changes(&s, task, name);
    }
    settings_free(&s);
    buf_free(&json);
    free(text);
    return 0;
}
