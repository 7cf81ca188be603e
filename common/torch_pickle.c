/*
 * The pickle machine (torch_pickle.h): protocols 2 to 5, the opcodes that PyTorch and TorchScript write. The machine is
 * a loop over a stack: no recursion. Nodes, stack and memo are bounded; every size is checked against the bytes left.
 */
#include "common/torch_pickle.h"
#include "common/err.h"
#include "common/mem.h"
#include <stdlib.h>
#include <string.h>

#define NODES_MAX (4u << 20)         /* a module of a hundred layers takes about ten thousand */
#define PICKLE_MAX_BYTES (64u << 20) /* and 30 KB; each byte costs at most 8 of memory beside the nodes */
#define CHUNK_NODES 1024u
#define NAME_MAX_BYTES 256 /* of a module or a global in it */

struct pickle {
    const unsigned char *at, *end;
    struct pickle_node **chunks;              /* CHUNK_NODES nodes each */
    uint32_t chunk_count, used;               /* used: of all chunks */
    struct pickle_node stack, memo, storages; /* lists */
    uint32_t *marks;                          /* heights of the stack */
    uint32_t mark_count, mark_cap;
    struct pickle_node *root;
};

/* What calling a global means. */
enum action { BUILD_DICT, BUILD_TENSOR, TAKE_FIRST, MAKE_OTHER, IS_STORAGE };

static const struct callable {
    const char *name;
    enum action action;
    enum weight_type type;
} callables[] = {
    {"collections.OrderedDict", BUILD_DICT, 0},
    {"torch._utils._rebuild_tensor", BUILD_TENSOR, 0},
    {"torch._utils._rebuild_tensor_v2", BUILD_TENSOR, 0},
    {"torch._utils._rebuild_parameter", TAKE_FIRST, 0},
    {"torch._utils._rebuild_parameter_with_state", TAKE_FIRST, 0},
    {"torch.jit._pickle.restore_type_tag", TAKE_FIRST, 0},
    {"torch.jit._pickle.build_intlist", TAKE_FIRST, 0},
    {"torch.jit._pickle.build_doublelist", TAKE_FIRST, 0},
    {"torch.jit._pickle.build_boollist", TAKE_FIRST, 0},
    {"torch.jit._pickle.build_tensorlist", TAKE_FIRST, 0},
    {"torch.Size", TAKE_FIRST, 0},
    {"torch.device", MAKE_OTHER, 0},
    {"__builtin__.set", MAKE_OTHER, 0},
    {"builtins.set", MAKE_OTHER, 0},
    {"torch.FloatStorage", IS_STORAGE, WEIGHT_F32},
    {"torch.HalfStorage", IS_STORAGE, WEIGHT_F16},
    {"torch.BFloat16Storage", IS_STORAGE, WEIGHT_BF16},
    {"torch.DoubleStorage", IS_STORAGE, WEIGHT_F64},
    {"torch.ByteStorage", IS_STORAGE, WEIGHT_U8},
    {"torch.BoolStorage", IS_STORAGE, WEIGHT_U8},
    {"torch.CharStorage", IS_STORAGE, WEIGHT_I8},
    {"torch.ShortStorage", IS_STORAGE, WEIGHT_I16},
    {"torch.IntStorage", IS_STORAGE, WEIGHT_I32},
    {"torch.LongStorage", IS_STORAGE, WEIGHT_I64},
};

bool pickle_text_is(const struct pickle_node *n, const char *text)
{
    return n->length == strlen(text) && memcmp(n->text, text, n->length) == 0;
}

static const struct callable *find_callable(const struct pickle_node *n)
{
    for (size_t i = 0; n->kind == PICKLE_GLOBAL && i < sizeof callables / sizeof *callables; i++) {
        if (pickle_text_is(n, callables[i].name))
            return &callables[i];
    }
    return NULL;
}

struct pickle_node *pickle_get(const struct pickle_node *dict, const char *key)
{
    for (uint32_t i = 0; dict->kind == PICKLE_DICT && i < dict->count; i += 2) {
        if (dict->items[i]->kind == PICKLE_STRING && pickle_text_is(dict->items[i], key))
            return dict->items[i + 1];
    }
    return NULL;
}

static int malformed(const char *what)
{
    return err_set(ERR_DATA, "damaged pickle: %s", what);
}

static void append(struct pickle_node *list, struct pickle_node *n)
{
    if (list->count == list->cap) {
        list->cap = list->cap ? list->cap * 2 : 8;
        list->items = xrealloc(list->items, list->cap * sizeof(void *));
    }
    list->items[list->count++] = n;
}

static int push(struct pickle *p, struct pickle_node *n)
{
    if (p->stack.count >= NODES_MAX)
        return malformed("its stack grows too high");
    append(&p->stack, n);
    return 0;
}

/* A new node on top of the stack; NULL with an error when there are too many. */
static struct pickle_node *push_new(struct pickle *p, enum pickle_kind kind)
{
    if (p->used >= NODES_MAX) {
        malformed("it holds too many objects");
        return NULL;
    }
    if (p->used == p->chunk_count * CHUNK_NODES) {
        p->chunks = xrealloc(p->chunks, (p->chunk_count + 1) * sizeof(void *));
        p->chunks[p->chunk_count++] = xcalloc(CHUNK_NODES, sizeof **p->chunks);
    }
    struct pickle_node *n = &p->chunks[p->used / CHUNK_NODES][p->used % CHUNK_NODES];
    p->used++;
    n->kind = kind;
    return push(p, n) < 0 ? NULL : n;
}

/* The top of the stack, `below` under it; NULL with an error when there is none. */
static struct pickle_node *peek(struct pickle *p, uint32_t below)
{
    uint32_t floor = p->mark_count ? p->marks[p->mark_count - 1] : 0; /* what is under a mark belongs to it */
    if (p->stack.count - floor <= below) {
        malformed("its stack is empty");
        return NULL;
    }
    return p->stack.items[p->stack.count - 1 - below];
}

static struct pickle_node *pop(struct pickle *p)
{
    struct pickle_node *n = peek(p, 0);
    if (n)
        p->stack.count--;
    return n;
}

static int push_mark(struct pickle *p)
{
    if (p->mark_count >= NODES_MAX)
        return malformed("too many marks");
    if (p->mark_count == p->mark_cap) {
        p->mark_cap = p->mark_cap ? p->mark_cap * 2 : 64;
        p->marks = xrealloc(p->marks, p->mark_cap * sizeof *p->marks);
    }
    p->marks[p->mark_count++] = p->stack.count;
    return 0;
}

/* Takes all above the last mark off the stack: *items points at them until the next push. */
static int pop_to_mark(struct pickle *p, struct pickle_node ***items, uint32_t *count)
{
    if (p->mark_count == 0)
        return malformed("a mark is missing");
    uint32_t height = p->marks[--p->mark_count];
    *count = p->stack.count - height;
    *items = *count > 0 ? p->stack.items + height : NULL;
    p->stack.count = height;
    return 0;
}

static int take(struct pickle *p, size_t bytes, const unsigned char **data)
{
    if (bytes > (size_t)(p->end - p->at))
        return malformed("it ends in the middle");
    *data = p->at;
    p->at += bytes;
    return 0;
}

/* A little-endian unsigned number of 1 to 8 bytes. */
static int take_number(struct pickle *p, size_t bytes, uint64_t *value)
{
    const unsigned char *data;
    if (take(p, bytes, &data) < 0)
        return -1;
    *value = 0;
    memcpy(value, data, bytes);
    return 0;
}

static int push_int(struct pickle *p, int64_t value)
{
    struct pickle_node *n = push_new(p, PICKLE_INT);
    if (!n)
        return -1;
    n->number = value;
    return 0;
}

/* LONG1: two's complement of any length; PyTorch's magic number has ten bytes, sizes have at most eight. */
static int push_long(struct pickle *p)
{
    uint64_t length, value = 0;
    const unsigned char *data;
    if (take_number(p, 1, &length) < 0 || take(p, length, &data) < 0)
        return -1;
    if (length > sizeof value)
        return push_new(p, PICKLE_OTHER) ? 0 : -1;
    memcpy(&value, data, length);
    if (length > 0 && length < sizeof value && data[length - 1] & 0x80)
        value |= ~0ull << 8 * length;
    return push_int(p, (int64_t)value);
}

static int push_string(struct pickle *p, size_t length_bytes)
{
    uint64_t length;
    const unsigned char *data;
    if (take_number(p, length_bytes, &length) < 0 || take(p, length, &data) < 0)
        return -1;
    struct pickle_node *n = push_new(p, PICKLE_STRING);
    if (!n)
        return -1;
    n->text = (const char *)data;
    n->length = length;
    return 0;
}

static int push_skipped(struct pickle *p, size_t bytes)
{
    const unsigned char *data;
    return take(p, bytes, &data) < 0 || !push_new(p, PICKLE_OTHER) ? -1 : 0;
}

static int push_global(struct pickle *p, const void *module, size_t module_length, const void *name, size_t name_length)
{
    if (module_length > NAME_MAX_BYTES || name_length > NAME_MAX_BYTES)
        return malformed("the name of a global is too long");
    struct pickle_node *n = push_new(p, PICKLE_GLOBAL);
    if (!n)
        return -1;
    char *text = xmalloc(module_length + 1 + name_length);
    memcpy(text, module, module_length);
    text[module_length] = '.';
    memcpy(text + module_length + 1, name, name_length);
    n->text = text;
    n->length = module_length + 1 + name_length;
    return 0;
}

static int read_global(struct pickle *p)
{
    const unsigned char *module = p->at, *end = memchr(module, '\n', (size_t)(p->end - module));
    const unsigned char *name = end ? end + 1 : NULL, *last = end ? memchr(name, '\n', (size_t)(p->end - name)) : NULL;
    if (!last)
        return malformed("it ends in the middle");
    p->at = last + 1;
    return push_global(p, module, (size_t)(end - module), name, (size_t)(last - name));
}

static int stack_global(struct pickle *p)
{
    struct pickle_node *name = pop(p), *module = pop(p);
    if (!name || !module)
        return -1;
    if (name->kind != PICKLE_STRING || module->kind != PICKLE_STRING)
        return malformed("the name of a global is no string");
    return push_global(p, module->text, module->length, name->text, name->length);
}

/* Pushes a list of these nodes. */
static int push_list(struct pickle *p, struct pickle_node **items, uint32_t count)
{
    struct pickle_node **copy = NULL;
    if (count > 0) {
        copy = xmalloc(count * sizeof(void *));
        memcpy(copy, items, count * sizeof(void *));
    }
    struct pickle_node *n = push_new(p, PICKLE_LIST);
    if (!n) {
        free(copy);
        return -1;
    }
    n->items = copy;
    n->count = n->cap = count;
    return 0;
}

static int marked_tuple(struct pickle *p)
{
    struct pickle_node **items;
    uint32_t count;
    return pop_to_mark(p, &items, &count) < 0 ? -1 : push_list(p, items, count);
}

static int short_tuple(struct pickle *p, uint32_t count)
{
    if (!peek(p, count - 1))
        return -1;
    p->stack.count -= count;
    return push_list(p, p->stack.items + p->stack.count, count);
}

/* Adds to the list or dictionary under the nodes; other objects (list subclasses) do not keep what is added. */
static int extend(struct pickle *p, enum pickle_kind kind, struct pickle_node **items, uint32_t count)
{
    struct pickle_node *to = peek(p, 0);
    if (!to)
        return -1;
    if (kind == PICKLE_DICT && count % 2 != 0)
        return malformed("a key without a value");
    if (count > NODES_MAX - to->count)
        return malformed("it holds too many objects");
    if (to->kind != kind)
        return to->kind == PICKLE_OBJECT || to->kind == PICKLE_OTHER ? 0 : malformed("items for what holds none");
    for (uint32_t i = 0; i < count; i++)
        append(to, items[i]);
    return 0;
}

static int extend_marked(struct pickle *p, enum pickle_kind kind)
{
    struct pickle_node **items;
    uint32_t count;
    return pop_to_mark(p, &items, &count) < 0 ? -1 : extend(p, kind, items, count);
}

static int extend_top(struct pickle *p, enum pickle_kind kind, uint32_t count)
{
    if (!peek(p, count))
        return -1;
    p->stack.count -= count;
    return extend(p, kind, p->stack.items + p->stack.count, count);
}

static int memo_put(struct pickle *p, uint64_t i)
{
    struct pickle_node *n = peek(p, 0);
    if (!n)
        return -1;
    /* Picklers number the memo without gaps. */
    if (i > p->memo.count || i >= NODES_MAX)
        return malformed("its memo has a gap");
    if (i < p->memo.count)
        p->memo.items[i] = n;
    else
        append(&p->memo, n);
    return 0;
}

static int memo_get(struct pickle *p, uint64_t i)
{
    return i < p->memo.count ? push(p, p->memo.items[i]) : malformed("a reference to what is not there");
}

static bool is_ints(const struct pickle_node *n)
{
    uint32_t i = 0;
    while (n->kind == PICKLE_LIST && i < n->count && n->items[i]->kind == PICKLE_INT)
        i++;
    return n->kind == PICKLE_LIST && i == n->count;
}

static int call_tensor(struct pickle *p, const struct pickle_node *args)
{
    if (args->count < 4 || args->items[0]->kind != PICKLE_STORAGE || args->items[1]->kind != PICKLE_INT ||
        !is_ints(args->items[2]) || !is_ints(args->items[3]) || args->items[2]->count != args->items[3]->count)
        return malformed("a tensor is not made of a storage, an offset, sizes and strides");
    if (push_list(p, args->items, 4) < 0)
        return -1;
    peek(p, 0)->kind = PICKLE_TENSOR;
    return 0;
}

static int call(struct pickle *p)
{
    struct pickle_node *args = pop(p), *function = pop(p);
    if (!args || !function)
        return -1;
    if (args->kind != PICKLE_LIST || function->kind != PICKLE_GLOBAL)
        return malformed("a call that is none");
    const struct callable *c = find_callable(function);
    if (c && c->action == BUILD_DICT && args->count == 0)
        return push_new(p, PICKLE_DICT) ? 0 : -1;
    if (c && c->action == BUILD_TENSOR)
        return call_tensor(p, args);
    if (c && c->action == TAKE_FIRST && args->count > 0)
        return push(p, args->items[0]);
    if (c && c->action == MAKE_OTHER)
        return push_new(p, PICKLE_OTHER) ? 0 : -1;
    return err_set(ERR_DATA, "the pickle calls %.*s, which builds no tensor: refused, nothing was executed",
                   (int)function->length, function->text);
}

/* An instance of any class, which is never looked at: only its state matters. */
static int new_object(struct pickle *p, uint32_t arguments)
{
    if (!peek(p, arguments))
        return -1;
    p->stack.count -= arguments;
    struct pickle_node *class = pop(p);
    if (class->kind != PICKLE_GLOBAL)
        return malformed("an object without a class");
    return push_new(p, PICKLE_OBJECT) ? 0 : -1;
}

/* Gives an object its state; a dictionary (an OrderedDict with attributes) keeps its items. */
static int set_state(struct pickle *p)
{
    struct pickle_node *state = pop(p), *object = state ? peek(p, 0) : NULL;
    if (!object)
        return -1;
    if (object->kind == PICKLE_OBJECT)
        append(object, state);
    return 0;
}

/* ('storage', type, key, location, elements[, view]) or, in legacy files, ('module', class, file, source). */
static int persistent_id(struct pickle *p)
{
    struct pickle_node *id = pop(p);
    if (!id)
        return -1;
    if (id->kind != PICKLE_LIST || id->count < 4 || id->items[0]->kind != PICKLE_STRING)
        return malformed("an external reference of unknown kind");
    struct pickle_node **part = id->items;
    if (pickle_text_is(part[0], "module") && part[1]->kind == PICKLE_GLOBAL)
        return push(p, part[1]);
    if (!pickle_text_is(part[0], "storage") || id->count < 5 || part[2]->kind != PICKLE_STRING ||
        part[4]->kind != PICKLE_INT || part[4]->number < 0)
        return malformed("an external reference of unknown kind");
    const struct callable *c = find_callable(part[1]);
    if (!c || c->action != IS_STORAGE)
        return err_set(ERR_DATA, "a storage of type %.*s is not understood", (int)part[1]->length, part[1]->text);
    if (id->count > 5 && (part[5]->kind == PICKLE_LIST))
        return err_set(ERR_DATA, "a storage that is a view of another (PyTorch before 0.4) is not understood");
    struct pickle_node *n = push_new(p, PICKLE_STORAGE);
    if (!n)
        return -1;
    n->type = c->type;
    n->text = part[2]->text;
    n->length = part[2]->length;
    n->number = part[4]->number;
    append(&p->storages, n);
    return 0;
}

/* Opcodes that work on what the stack holds. */
static int run_build(struct pickle *p, unsigned char op)
{
    uint64_t value;
    switch (op) {
    case '(': /* MARK */
        return push_mark(p);
    case '0': /* POP */
        return pop(p) ? 0 : -1;
    case 't':  /* TUPLE */
    case 0x91: /* FROZENSET */
        return marked_tuple(p);
    case 0x85: /* TUPLE1 */
    case 0x86: /* TUPLE2 */
    case 0x87: /* TUPLE3 */
        return short_tuple(p, op - 0x84u);
    case 'a': /* APPEND */
        return extend_top(p, PICKLE_LIST, 1);
    case 'e':  /* APPENDS */
    case 0x90: /* ADDITEMS */
        return extend_marked(p, PICKLE_LIST);
    case 's': /* SETITEM */
        return extend_top(p, PICKLE_DICT, 2);
    case 'u': /* SETITEMS */
        return extend_marked(p, PICKLE_DICT);
    case 'q': /* BINPUT */
    case 'r': /* LONG_BINPUT */
        return take_number(p, op == 'q' ? 1 : 4, &value) < 0 ? -1 : memo_put(p, value);
    case 0x94: /* MEMOIZE */
        return memo_put(p, p->memo.count);
    case 0x93: /* STACK_GLOBAL */
        return stack_global(p);
    case 'R': /* REDUCE */
        return call(p);
    case 0x81: /* NEWOBJ */
    case 0x92: /* NEWOBJ_EX */
        return new_object(p, op == 0x81 ? 1 : 2);
    case 'b': /* BUILD */
        return set_state(p);
    case 'Q': /* BINPERSID */
        return persistent_id(p);
    case 0x95: /* FRAME: its length, of no use here */
        return take_number(p, 8, &value);
    default:
        return err_set(ERR_DATA, "opcode 0x%02x of the pickle is not understood", op);
    }
}

/* Opcodes that push something; all others are run_build's. */
static int run_push(struct pickle *p, unsigned char op)
{
    uint64_t value;
    switch (op) {
    case 'N': /* NONE */
    case 'G': /* BINFLOAT */
        return push_skipped(p, op == 'N' ? 0 : 8);
    case 0x88: /* NEWTRUE */
    case 0x89: /* NEWFALSE */
        return push_int(p, op == 0x88);
    case 'J': /* BININT */
        return take_number(p, 4, &value) < 0 ? -1 : push_int(p, (int32_t)value);
    case 'K': /* BININT1 */
    case 'M': /* BININT2 */
        return take_number(p, op == 'K' ? 1 : 2, &value) < 0 ? -1 : push_int(p, (int64_t)value);
    case 0x8a: /* LONG1 */
        return push_long(p);
    case 'X': /* BINUNICODE */
    case 'T': /* BINSTRING, of Python 2 */
    case 'B': /* BINBYTES */
        return push_string(p, 4);
    case 'U':  /* SHORT_BINSTRING, of Python 2 */
    case 0x8c: /* SHORT_BINUNICODE */
    case 'C':  /* SHORT_BINBYTES */
        return push_string(p, 1);
    case ')':  /* EMPTY_TUPLE */
    case ']':  /* EMPTY_LIST */
    case 0x8f: /* EMPTY_SET */
        return push_new(p, PICKLE_LIST) ? 0 : -1;
    case '}': /* EMPTY_DICT */
        return push_new(p, PICKLE_DICT) ? 0 : -1;
    case 'c': /* GLOBAL */
        return read_global(p);
    case 'h': /* BINGET */
    case 'j': /* LONG_BINGET */
        return take_number(p, op == 'h' ? 1 : 4, &value) < 0 ? -1 : memo_get(p, value);
    default:
        return run_build(p, op);
    }
}

static int run(struct pickle *p)
{
    const unsigned char *op;
    uint64_t protocol;
    if (take(p, 1, &op) < 0)
        return -1;
    if (*op != 0x80 || take_number(p, 1, &protocol) < 0 || protocol < 2 || protocol > 5)
        return err_set(ERR_DATA, "no pickle of protocol 2 to 5");
    for (;;) {
        if (take(p, 1, &op) < 0)
            return -1;
        if (*op == '.') /* STOP */
            break;
        if (run_push(p, *op) < 0)
            return -1;
    }
    if (p->mark_count > 0 || p->stack.count != 1)
        return malformed("it stops early");
    p->root = p->stack.items[0];
    return 0;
}

int pickle_read(struct pickle **out, const void *data, size_t size, size_t *used)
{
    struct pickle *p = xcalloc(1, sizeof *p);
    p->at = data;
    p->end = p->at + (size < PICKLE_MAX_BYTES ? size : PICKLE_MAX_BYTES);
    int rc = run(p);
    *used = (size_t)(p->at - (const unsigned char *)data);
    if (rc < 0) {
        err_wrap("byte %zu of the pickle", *used);
        pickle_free(&p);
    }
    *out = p;
    return rc;
}

void pickle_free(struct pickle **pointer)
{
    struct pickle *p = *pointer;
    if (!p)
        return;
    for (uint32_t i = 0; i < p->used; i++) {
        struct pickle_node *n = &p->chunks[i / CHUNK_NODES][i % CHUNK_NODES];
        free(n->items);
        if (n->kind == PICKLE_GLOBAL)
            free((char *)n->text);
    }
    for (uint32_t i = 0; i < p->chunk_count; i++)
        free(p->chunks[i]);
    free(p->chunks);
    free(p->marks);
    free(p->stack.items);
    free(p->memo.items);
    free(p->storages.items);
    free(p);
    *pointer = NULL;
}

struct pickle_node *pickle_root(const struct pickle *p)
{
    return p->root;
}

struct pickle_node *pickle_storage(const struct pickle *p, size_t i)
{
    return i < p->storages.count ? p->storages.items[i] : NULL;
}
