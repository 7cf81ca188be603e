/*
 * Python pickles as PyTorch writes them, read as data: containers, numbers, strings, storages and tensors come out as a
 * graph of nodes. Nothing is ever executed: a class instance is an inert node with its state, and a call to anything
 * but the few functions that build tensors is refused. Private to torch.c.
 */
#ifndef ATELIER_COMMON_TORCH_PICKLE_H
#define ATELIER_COMMON_TORCH_PICKLE_H

#include "common/weights.h"
#include <stdbool.h>

enum pickle_kind {
    PICKLE_OTHER,   /* None, floats, and what the reader has no use for */
    PICKLE_INT,     /* and booleans */
    PICKLE_STRING,  /* text, or bytes */
    PICKLE_LIST,    /* tuples, lists, sets: items */
    PICKLE_DICT,    /* items: key, value, key, value ... */
    PICKLE_GLOBAL,  /* a name, in text: "torch._utils._rebuild_tensor_v2" */
    PICKLE_OBJECT,  /* an instance of some class; items: its state, once it was given */
    PICKLE_STORAGE, /* text: its key; number: its elements; type */
    PICKLE_TENSOR,  /* items: storage, offset, list of sizes, list of strides (checked to be of these kinds) */
};

struct pickle_node {
    enum pickle_kind kind;
    enum weight_type type;
    uint32_t count, cap; /* of items */
    struct pickle_node **items;
    const char *text; /* not terminated */
    size_t length;    /* of text */
    int64_t number;
};

struct pickle;

/* Reads one pickle from the start of `data`, which must outlive it. *used: its length in bytes. 0 or -1. */
int pickle_read(struct pickle **p, const void *data, size_t size, size_t *used);
void pickle_free(struct pickle **p);
struct pickle_node *pickle_root(const struct pickle *p);

/* All storages that the pickle named, in its order: NULL past the last. */
struct pickle_node *pickle_storage(const struct pickle *p, size_t i);

bool pickle_text_is(const struct pickle_node *n, const char *text);
/* The value under a string key of a dictionary, or NULL. */
struct pickle_node *pickle_get(const struct pickle_node *dict, const char *key);

#endif
