/*
 * PyTorch's containers, read as weights: the zip archive (torch.save since 1.6, TorchScript) and the legacy file of
 * several pickles. Names are those of a state dict: a module's are its path through _modules, _parameters and _buffers;
 * a state dict inside a checkpoint's dictionary is found under the usual keys.
 */
#include "common/err.h"
#include "common/mem.h"
#include "common/torch_pickle.h"
#include "common/torch_zip.h"
#include "common/weights_file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64          /* of modules in modules */
#define VISITS_MAX (4u << 20) /* nodes looked at: a shared node is met once for each path to it */
#define NAME_MAX_BYTES 512    /* of a tensor */
#define LEGACY_PROTOCOL 1001

static const unsigned char legacy_magic[] = {0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                             0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};

/* A storage of a legacy file. */
struct extent {
    const struct pickle_node *storage;
    const unsigned char *data;
};

struct reader {
    struct weights *w;
    const struct zip *zip;  /* or, for a legacy file: */
    const char *prefix;     /* "archive/" */
    struct extent *extents; /* sorted by key */
    size_t extent_count;
    char name[NAME_MAX_BYTES];
    size_t visits;
};

static int compare_keys(const struct pickle_node *a, const struct pickle_node *b)
{
    size_t common = a->length < b->length ? a->length : b->length;
    int order = memcmp(a->text, b->text, common);
    return order ? order : (a->length > b->length) - (a->length < b->length);
}

static int by_key(const void *a, const void *b)
{
    return compare_keys(((const struct extent *)a)->storage, ((const struct extent *)b)->storage);
}

static int storage_bytes(const struct pickle_node *storage, size_t *bytes)
{
    if (__builtin_mul_overflow((size_t)storage->number, weight_type_size(storage->type), bytes))
        return err_set(ERR_DATA, "a storage of impossible size");
    return 0;
}

/* Where a storage's elements are; all of them are there. */
static int storage_data(struct reader *r, const struct pickle_node *storage, const unsigned char **data)
{
    size_t need, size = 0;
    if (storage_bytes(storage, &need) < 0)
        return -1;
    if (!r->zip) {
        struct extent key = {.storage = storage};
        const struct extent *e = bsearch(&key, r->extents, r->extent_count, sizeof *r->extents, by_key);
        if (!e || !e->data || e->storage->number != storage->number || e->storage->type != storage->type)
            return err_set(ERR_DATA, "storage '%.*s' is not in the file", (int)storage->length, storage->text);
        *data = e->data;
        return 0;
    }
    if (storage->length > NAME_MAX_BYTES)
        return err_set(ERR_DATA, "the name of a storage is too long");
    char *member = xasprintf("%sdata/%.*s", r->prefix, (int)storage->length, storage->text);
    int found = zip_find(r->zip, member, data, &size);
    if (found == 0 || (found > 0 && size != need))
        found = err_set(ERR_DATA, "the archive should hold %zu bytes of '%s', it has %zu", need, member, size);
    free(member);
    return found < 0 ? -1 : 0;
}

/* Copies elements in row-major order from a strided view. */
static void lay_out(const struct weight *t, const int64_t *strides, const unsigned char *from, unsigned char *to)
{
    size_t size = weight_type_size(t->type);
    int64_t index[WEIGHT_MAX_DIMS] = {0}, at = 0;
    for (size_t i = 0; i < t->count; i++) {
        memcpy(to + i * size, from + (size_t)at * size, size);
        for (int d = t->ndim - 1; d >= 0; d--) {
            at += strides[d];
            if (++index[d] < t->shape[d])
                break;
            at -= t->shape[d] * strides[d];
            index[d] = 0;
        }
    }
}

/* Reads and checks sizes, strides and offset: every element must lie in the storage. */
static int read_view(const struct pickle_node *tensor, struct weight *t, int64_t *strides, bool *contiguous)
{
    const struct pickle_node *storage = tensor->items[0], *sizes = tensor->items[2];
    if (sizes->count > WEIGHT_MAX_DIMS)
        return err_set(ERR_DATA, "%u dimensions, at most %d are understood", sizes->count, WEIGHT_MAX_DIMS);
    t->ndim = (int)sizes->count;
    t->type = storage->type;
    for (int d = 0; d < t->ndim; d++)
        t->shape[d] = sizes->items[d]->number;
    if (weight_shape_count(t->shape, t->ndim, t->type, &t->count) < 0)
        return -1;
    int64_t last = tensor->items[1]->number, packed = 1;
    bool outside = last < 0 || t->count > (uint64_t)storage->number;
    *contiguous = true;
    for (int d = t->ndim - 1; d >= 0 && !outside && t->count > 0; d--) {
        int64_t reach;
        strides[d] = tensor->items[3]->items[d]->number;
        *contiguous = *contiguous && (t->shape[d] == 1 || strides[d] == packed);
        packed *= t->shape[d];
        outside = strides[d] < 0 || __builtin_mul_overflow(t->shape[d] - 1, strides[d], &reach) ||
                  __builtin_add_overflow(last, reach, &last);
    }
    if (outside || (t->count > 0 && last >= storage->number))
        return err_set(ERR_DATA, "its elements lie outside its storage of %lld", (long long)storage->number);
    return 0;
}

static int add_tensor(struct reader *r, const struct pickle_node *tensor)
{
    struct weight t = {0};
    struct weights *w = r->w;
    int64_t strides[WEIGHT_MAX_DIMS];
    const unsigned char *data;
    bool contiguous;
    if (read_view(tensor, &t, strides, &contiguous) < 0 || storage_data(r, tensor->items[0], &data) < 0)
        return err_wrap("tensor '%s'", r->name);
    size_t size = weight_type_size(t.type);
    t.data = data = t.count > 0 ? data + (size_t)tensor->items[1]->number * size : data;
    if (!contiguous) {
        /* Views of one storage could claim it many times over. */
        if (w->copies_bytes + t.count * size > 2 * w->size)
            return err_set(ERR_DATA, "tensor '%s': too many transposed views of few data", r->name);
        void *copy = mem_try(t.count * size, 2 * w->size, r->name);
        if (!copy)
            return -1;
        lay_out(&t, strides, data, copy);
        w->copies = xrealloc(w->copies, (w->copies_count + 1) * sizeof *w->copies);
        w->copies[w->copies_count++] = copy;
        w->copies_bytes += t.count * size;
        t.data = copy;
    }
    t.name = xstrdup(r->name);
    weights_add(w, &t);
    return 0;
}

static int collect(struct reader *r, const struct pickle_node *n, int depth);

/* Collects under the present name and ".key". */
static int collect_child(struct reader *r, const struct pickle_node *key, const struct pickle_node *value, int depth)
{
    size_t used = strlen(r->name);
    int length =
        key->kind == PICKLE_STRING
            ? snprintf(r->name + used, sizeof r->name - used, "%s%.*s", used ? "." : "",
                       key->length < NAME_MAX_BYTES ? (int)key->length : NAME_MAX_BYTES, key->text)
            : snprintf(r->name + used, sizeof r->name - used, "%s%lld", used ? "." : "", (long long)key->number);
    if ((size_t)length >= sizeof r->name - used)
        return err_set(ERR_DATA, "the name of a tensor is too long");
    int rc = collect(r, value, depth + 1);
    r->name[used] = 0;
    return rc;
}

static int collect_dict(struct reader *r, const struct pickle_node *dict, int depth)
{
    for (uint32_t i = 0; i < dict->count; i += 2) {
        if (collect_child(r, dict->items[i], dict->items[i + 1], depth) < 0)
            return -1;
    }
    return 0;
}

/* A torch.nn.Module keeps its tensors in three dictionaries; a TorchScript object has them as attributes. */
static int collect_object(struct reader *r, const struct pickle_node *object, int depth)
{
    static const char *const parts[] = {"_parameters", "_buffers", "_modules"};
    if (object->count == 0)
        return 0;
    const struct pickle_node *state = object->items[object->count - 1];
    if (!pickle_get(state, parts[0]))
        return collect(r, state, depth + 1);
    for (int i = 0; i < 3; i++) {
        const struct pickle_node *part = pickle_get(state, parts[i]);
        if (part && collect(r, part, depth + 1) < 0)
            return -1;
    }
    return 0;
}

static int collect(struct reader *r, const struct pickle_node *n, int depth)
{
    if (depth > DEPTH_MAX || ++r->visits > VISITS_MAX)
        return err_set(ERR_DATA, "the pickle's objects are nested too deep or contain themselves");
    struct pickle_node index = {.kind = PICKLE_INT};
    switch (n->kind) {
    case PICKLE_TENSOR:
        return add_tensor(r, n);
    case PICKLE_DICT:
        return collect_dict(r, n, depth);
    case PICKLE_OBJECT:
        return collect_object(r, n, depth);
    case PICKLE_LIST:
        for (; index.number < n->count; index.number++) {
            if (collect_child(r, &index, n->items[index.number], depth) < 0)
                return -1;
        }
        return 0;
    default:
        return 0;
    }
}

static int collect_root(struct reader *r, const struct pickle_node *root)
{
    static const char *const wrappers[] = {"state_dict", "model_state_dict", "model"};
    for (int i = 0; i < 3; i++) {
        const struct pickle_node *inner = pickle_get(root, wrappers[i]);
        if (inner && (inner->kind == PICKLE_DICT || inner->kind == PICKLE_OBJECT)) {
            root = inner;
            break;
        }
    }
    if (collect(r, root, 0) < 0)
        return -1;
    return r->w->count > 0 ? 0 : err_set(ERR_DATA, "the PyTorch file holds no tensors");
}

/* "archive/" of "archive/data.pkl"; NULL with an error when there is no such member. malloc'ed. */
static char *find_prefix(const struct zip *z)
{
    static const char pickle[] = "/data.pkl";
    size_t tail = sizeof pickle - 1;
    for (size_t i = 0; i < z->count; i++) {
        const struct zip_member *m = &z->list[i];
        if (m->name_length > tail && memcmp(m->name + m->name_length - tail, pickle, tail) == 0 &&
            !memchr(m->name, '/', m->name_length - tail) && !memchr(m->name, 0, m->name_length))
            return xasprintf("%.*s/", (int)(m->name_length - tail), m->name);
    }
    err_set(ERR_DATA, "a zip archive, but not PyTorch's: it has no data.pkl");
    return NULL;
}

/* Archives of a big-endian host say so; older ones say nothing and are little-endian. */
static int check_byte_order(const struct zip *z, const char *prefix)
{
    const unsigned char *data;
    size_t size;
    char *member = xasprintf("%sbyteorder", prefix);
    int found = zip_find(z, member, &data, &size);
    free(member);
    if (found > 0 && (size != 6 || memcmp(data, "little", 6) != 0))
        return err_set(ERR_DATA, "the archive was written on a big-endian host");
    return found < 0 ? -1 : 0;
}

static int read_archive(struct weights *w, const struct zip *z, const char *prefix)
{
    struct reader r = {.w = w, .zip = z, .prefix = prefix};
    struct pickle *p;
    const unsigned char *data;
    size_t size, used;
    char *member = xasprintf("%sdata.pkl", prefix);
    int rc = zip_find(z, member, &data, &size);
    free(member);
    if (rc < 0 || check_byte_order(z, prefix) < 0 || pickle_read(&p, data, size, &used) < 0)
        return -1;
    rc = collect_root(&r, pickle_root(p));
    pickle_free(&p);
    return rc;
}

int torch_read_zip(struct weights *w)
{
    struct zip z;
    if (zip_open(&z, w->base, w->size) < 0)
        return -1;
    char *prefix = find_prefix(&z);
    int rc = prefix ? read_archive(w, &z, prefix) : -1;
    free(prefix);
    free(z.list);
    return rc;
}

/* Takes one pickle off the front of the file's rest. */
static int next_pickle(struct pickle **p, const unsigned char **at, const unsigned char *end)
{
    size_t used;
    if (pickle_read(p, *at, (size_t)(end - *at), &used) < 0)
        return -1;
    *at += used;
    return 0;
}

/* Behind the pickles: for each key of `keys` a 64-bit count and the elements. Finds the places of all storages. */
static int place_storages(struct reader *r, const struct pickle *p, const struct pickle_node *keys,
                          const unsigned char *at, const unsigned char *end)
{
    while (pickle_storage(p, r->extent_count))
        r->extent_count++;
    r->extents = xcalloc(r->extent_count, sizeof *r->extents);
    for (size_t i = 0; i < r->extent_count; i++)
        r->extents[i].storage = pickle_storage(p, i);
    if (r->extent_count > 0)
        qsort(r->extents, r->extent_count, sizeof *r->extents, by_key);
    for (uint32_t i = 0; i < keys->count; i++) {
        struct extent key = {.storage = keys->items[i]}, *e = NULL;
        if (keys->items[i]->kind == PICKLE_STRING && r->extent_count > 0)
            e = bsearch(&key, r->extents, r->extent_count, sizeof *r->extents, by_key);
        size_t bytes;
        int64_t count;
        if (!e || storage_bytes(e->storage, &bytes) < 0)
            return err_set(ERR_DATA, "damaged legacy PyTorch file: a storage that no tensor uses");
        if ((size_t)(end - at) < sizeof count)
            return err_set(ERR_DATA, "cut legacy PyTorch file: storage %u of %u is missing", i, keys->count);
        memcpy(&count, at, sizeof count);
        at += sizeof count;
        if (count != e->storage->number || bytes > (size_t)(end - at))
            return err_set(ERR_DATA, "cut or damaged legacy PyTorch file in storage %u of %u", i, keys->count);
        /* A storage may be named by several references, which stand together. */
        for (; e > r->extents && by_key(e - 1, &key) == 0; e--)
            ;
        for (; e < r->extents + r->extent_count && by_key(e, &key) == 0; e++)
            e->data = at;
        at += bytes;
    }
    return 0;
}

int torch_read_legacy(struct weights *w)
{
    struct reader r = {.w = w};
    struct pickle *protocol = NULL, *system = NULL, *object = NULL, *keys = NULL;
    const unsigned char *at = w->base + sizeof legacy_magic, *end = w->base + w->size;
    if (w->size < sizeof legacy_magic || memcmp(w->base, legacy_magic, sizeof legacy_magic) != 0)
        return err_set(ERR_DATA, "a pickle, but not PyTorch's");
    int rc = next_pickle(&protocol, &at, end);
    if (rc == 0 && pickle_root(protocol)->number != LEGACY_PROTOCOL)
        rc = err_set(ERR_DATA, "legacy PyTorch file of another version than %d", LEGACY_PROTOCOL);
    if (rc == 0)
        rc = next_pickle(&system, &at, end);
    if (rc == 0) {
        const struct pickle_node *little = pickle_get(pickle_root(system), "little_endian");
        if (!little || little->number != 1)
            rc = err_set(ERR_DATA, "the legacy PyTorch file was written on a big-endian host");
    }
    if (rc == 0)
        rc = next_pickle(&object, &at, end);
    if (rc == 0)
        rc = next_pickle(&keys, &at, end);
    if (rc == 0)
        rc = place_storages(&r, object, pickle_root(keys), at, end);
    if (rc == 0)
        rc = collect_root(&r, pickle_root(object));
    free(r.extents);
    pickle_free(&protocol);
    pickle_free(&system);
    pickle_free(&object);
    pickle_free(&keys);
    return rc;
}
