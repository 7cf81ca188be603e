/* copy_weights IN OUT: reads a file of weights and writes it as safetensors, with the metadata `kind`. */
#include "common/err.h"
#include "common/mem.h"
#include "common/weights.h"
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    struct weights *w;
    if (argc != 3) {
        fprintf(stderr, "usage: copy_weights IN OUT\n");
        return ERR_USAGE;
    }
    if (weights_load(&w, argv[1]) < 0) {
        fprintf(stderr, "copy_weights: %s\n", err_text());
        return err_code();
    }
    size_t count = weights_count(w);
    const char *kind = weights_meta(w, "kind");
    const char *const meta[] = {"kind", kind ? kind : "none", NULL};
    struct weight *list = xcalloc(count, sizeof *list);
    for (size_t i = 0; i < count; i++)
        list[i] = *weights_at(w, i);
    int rc = weights_save(argv[2], list, count, meta);
    if (rc < 0)
        fprintf(stderr, "copy_weights: %s\n", err_text());
    free(list);
    weights_free(&w);
    return rc < 0 ? err_code() : 0;
}
