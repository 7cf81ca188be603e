/* Where a model's files are. */
#include "models/model_path.h"
#include "common/mem.h"
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

static bool is_dir(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

char *model_path(const char *path)
{
    return is_dir(path) ? xasprintf("%s/model.safetensors", path) : xstrdup(path);
}

char *model_companion(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    if (is_dir(path))
        return xasprintf("%s/%s", path, name);
    return slash ? xasprintf("%.*s/%s", (int)(slash - path), path, name) : xstrdup(name);
}
