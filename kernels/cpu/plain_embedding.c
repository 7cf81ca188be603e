/*
 * Plain kernels: rows of a table by id.
 */
#include "kernels/cpu/plain.h"

static void embed(struct tensor y_t, struct tensor table_t, struct tensor ids_t, int rows, int d, bool accumulate)
{
    const int32_t *ids = ids_t.data;
    for (int r = 0; r < rows; r++) {
        float *y = (float *)y_t.data + (size_t)r * d;
        if (!accumulate)
            for (int i = 0; i < d; i++)
                y[i] = 0;
        if (ids[r] < 0)
            continue;
        const float *entry = (const float *)table_t.data + (size_t)ids[r] * d;
        for (int i = 0; i < d; i++)
            y[i] += entry[i];
    }
}

static void embed_backward(struct tensor dtable_t, struct tensor dy_t, struct tensor ids_t, int rows, int d)
{
    const int32_t *ids = ids_t.data;
    for (int r = 0; r < rows; r++) {
        if (ids[r] < 0)
            continue;
        float *dentry = (float *)dtable_t.data + (size_t)ids[r] * d;
        const float *dy = (const float *)dy_t.data + (size_t)r * d;
        for (int i = 0; i < d; i++)
            dentry[i] += dy[i];
    }
}

void plain_embedding(struct kernels *k)
{
    k->embed = embed;
    k->embed_backward = embed_backward;
}
