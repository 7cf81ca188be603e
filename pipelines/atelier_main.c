/*
 * atelier: the front command. `atelier filter ...` runs the program atelier-filter that lies beside it.
 */
#include "common/stage.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXIT_USAGE 2
#define EXIT_NO_PROGRAM 127

/* The directory of this program, from the link that the kernel keeps. */
static int own_directory(char *dir, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", dir, size - 1);
    if (n < 0)
        return -1;
    dir[n] = 0;
    *strrchr(dir, '/') = 0;
    return 0;
}

static int is_program(const struct dirent *e)
{
    return !strncmp(e->d_name, "atelier-", 8);
}

static void usage(const char *dir, FILE *to)
{
    struct dirent **list;
    int n = scandir(dir, &list, is_program, alphasort);
    fprintf(to, "Usage: atelier PROGRAM [OPTION...]\nPrograms (atelier PROGRAM --help says more):\n");
    for (int i = 0; i < n; i++) {
        fprintf(to, "  %s\n", list[i]->d_name + 8);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
}

int main(int argc, char **argv)
{
    char dir[PATH_MAX], path[PATH_MAX + 256];
    if (own_directory(dir, sizeof dir)) {
        fprintf(stderr, "atelier: /proc/self/exe: %s\n", strerror(errno));
        return EXIT_NO_PROGRAM;
    }
    if (argc > 1 && !strcmp(argv[1], "--version")) {
        puts("atelier " ATELIER_VERSION);
        return 0;
    }
    if (argc < 2 || argv[1][0] == '-' || strchr(argv[1], '/')) {
        int help = argc > 1 && !strcmp(argv[1], "--help");
        usage(dir, help ? stdout : stderr);
        return help ? 0 : EXIT_USAGE;
    }
    snprintf(path, sizeof path, "%s/atelier-%s", dir, argv[1]);
    argv[1] = path;
    execv(path, argv + 1);
    fprintf(stderr, "atelier: no program '%s' in %s (atelier --help lists them)\n", strrchr(path, '-') + 1, dir);
    return EXIT_NO_PROGRAM;
}
