/*
 * Training (bpe.h). Words are counted in a hash table; then the most frequent pair, the smallest ids of equals, is
 * merged in the words that hold it, over and over, and only the counts that change are touched. As in Hugging Face's
 * trainer the queue holds stale counts, which are put right when they come up.
 */
#include "common/err.h"
#include "models/bpe_private.h"
#include <stdlib.h>
#include <string.h>

struct word {
    size_t start, len; /* bytes in the text pool; later symbols in the symbol pool */
    uint64_t hash, count;
};

struct bpe_trainer {
    struct word *words;
    size_t word_count, word_cap;
    uint32_t *slots; /* hash table: index of a word + 1; 0: empty */
    size_t slot_count;
    struct buf pool, text;
};

struct places { /* indices of words, ascending */
    uint32_t *list;
    size_t len, cap;
};

struct pair {
    uint64_t pair;         /* left << 32 | right */
    int64_t count;         /* the library's wraps at 2^31 */
    struct places pending; /* words where it has appeared since it was queued last */
};

struct entry { /* of the queue */
    int64_t count;
    uint32_t pair; /* index of the pair */
    uint64_t order;
    struct places places;
};

struct training {
    struct bpe *bpe;
    struct word *words;
    int32_t *symbols; /* of all words; each word's shrink in their place */
    struct pair *pairs;
    size_t pair_count, pair_cap;
    uint32_t *slots; /* hash table of pairs, as above */
    size_t slot_count;
    struct entry *queue; /* heap */
    size_t queue_len, queue_cap;
    uint32_t *touched; /* pairs with pending places */
    size_t touched_len, touched_cap;
    struct bpe_merge *merges;
    size_t merge_count, merge_cap;
};

struct bpe_trainer *bpe_trainer_new(void)
{
    return xcalloc(1, sizeof(struct bpe_trainer));
}

void bpe_trainer_free(struct bpe_trainer **t)
{
    if (*t) {
        free((*t)->words);
        free((*t)->slots);
        buf_free(&(*t)->pool);
        buf_free(&(*t)->text);
        free(*t);
    }
    *t = NULL;
}

static uint64_t hash_word(const unsigned char *word, size_t len)
{
    uint64_t h = len * 0x9E3779B97F4A7C15u;
    for (; len >= 8; word += 8, len -= 8) {
        uint64_t v;
        memcpy(&v, word, 8);
        h = (h ^ v) * 0xD6E8FEB86659FD93u;
        h ^= h >> 32;
    }
    uint64_t rest = 0;
    memcpy(&rest, word, len);
    h = (h ^ rest) * 0xD6E8FEB86659FD93u;
    return h ^ h >> 32;
}

static void grow_words(struct bpe_trainer *t)
{
    t->slot_count = t->slot_count ? 2 * t->slot_count : 4096;
    t->slots = xrealloc(t->slots, t->slot_count * sizeof(*t->slots));
    memset(t->slots, 0, t->slot_count * sizeof(*t->slots));
    for (size_t i = 0; i < t->word_count; i++) {
        size_t slot = t->words[i].hash & (t->slot_count - 1);
        while (t->slots[slot])
            slot = (slot + 1) & (t->slot_count - 1);
        t->slots[slot] = (uint32_t)i + 1;
    }
}

static void count_word(struct bpe_trainer *t, const unsigned char *text, size_t len)
{
    if (2 * t->word_count >= t->slot_count)
        grow_words(t);
    uint64_t hash = hash_word(text, len);
    size_t slot = hash & (t->slot_count - 1);
    for (; t->slots[slot]; slot = (slot + 1) & (t->slot_count - 1)) {
        struct word *w = &t->words[t->slots[slot] - 1];
        if (w->hash == hash && w->len == len && !memcmp(t->pool.data + w->start, text, len)) {
            w->count++;
            return;
        }
    }
    if (t->word_count == t->word_cap)
        t->words = xrealloc(t->words, (t->word_cap = 2 * t->word_cap + 1024) * sizeof(*t->words));
    t->words[t->word_count++] = (struct word){t->pool.len, len, hash, 1};
    t->slots[slot] = (uint32_t)t->word_count;
    buf_append(&t->pool, text, len);
}

void bpe_trainer_add(struct bpe_trainer *t, const char *text, size_t len)
{
    t->text.len = 0;
    bpe_normalise(&t->text, (const unsigned char *)text, len, false, true);
    const unsigned char *p = t->text.data, *end = p + t->text.len, *word;
    size_t n;
    while ((word = bpe_next_word(BPE_GPT2, &p, end, &n)) != NULL)
        count_word(t, word, n);
}

static size_t pair_slot(const struct training *t, uint64_t pair)
{
    size_t slot = (pair * 0x9E3779B97F4A7C15u) >> 32 & (t->slot_count - 1);
    while (t->slots[slot] && t->pairs[t->slots[slot] - 1].pair != pair)
        slot = (slot + 1) & (t->slot_count - 1);
    return slot;
}

/* The pair's index; it is added with count 0 where it is new. */
static uint32_t find_pair(struct training *t, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)left << 32 | (uint32_t)right;
    size_t slot = t->slot_count ? pair_slot(t, pair) : 0;
    if (t->slot_count && t->slots[slot])
        return t->slots[slot] - 1;
    if (2 * t->pair_count >= t->slot_count) {
        t->slot_count = t->slot_count ? 2 * t->slot_count : 65536;
        t->slots = xrealloc(t->slots, t->slot_count * sizeof(*t->slots));
        memset(t->slots, 0, t->slot_count * sizeof(*t->slots));
        for (size_t i = 0; i < t->pair_count; i++)
            t->slots[pair_slot(t, t->pairs[i].pair)] = (uint32_t)i + 1;
        slot = pair_slot(t, pair);
    }
    if (t->pair_count == t->pair_cap)
        t->pairs = xrealloc(t->pairs, (t->pair_cap = 2 * t->pair_cap + 1024) * sizeof(*t->pairs));
    t->pairs[t->pair_count++] = (struct pair){.pair = pair};
    t->slots[slot] = (uint32_t)t->pair_count;
    return (uint32_t)t->pair_count - 1;
}

/* The pair has appeared once more in a word. */
static void add_pair(struct training *t, int32_t left, int32_t right, uint32_t word)
{
    uint32_t index = find_pair(t, left, right);
    struct pair *p = &t->pairs[index];
    struct places *places = &p->pending;
    p->count += (int64_t)t->words[word].count;
    if (places->len > 0 && places->list[places->len - 1] == word)
        return;
    if (places->len == 0) {
        if (t->touched_len == t->touched_cap)
            t->touched = xrealloc(t->touched, (t->touched_cap = 2 * t->touched_cap + 64) * sizeof(*t->touched));
        t->touched[t->touched_len++] = index;
    }
    if (places->len == places->cap)
        places->list = xrealloc(places->list, (places->cap = 2 * places->cap + 4) * sizeof(*places->list));
    places->list[places->len++] = word;
}

static void remove_pair(struct training *t, int32_t left, int32_t right, uint32_t word)
{
    t->pairs[find_pair(t, left, right)].count -= (int64_t)t->words[word].count;
}

static bool comes_before(const struct entry *a, const struct entry *b)
{
    return a->count != b->count ? a->count > b->count : a->order < b->order;
}

static void queue_push(struct training *t, struct entry e)
{
    if (t->queue_len == t->queue_cap)
        t->queue = xrealloc(t->queue, (t->queue_cap = 2 * t->queue_cap + 1024) * sizeof(*t->queue));
    size_t i = t->queue_len++;
    for (; i > 0 && comes_before(&e, &t->queue[(i - 1) / 2]); i = (i - 1) / 2)
        t->queue[i] = t->queue[(i - 1) / 2];
    t->queue[i] = e;
}

static struct entry queue_pop(struct training *t)
{
    struct entry *q = t->queue, top = q[0], last = q[--t->queue_len];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < t->queue_len; i = child) {
        if (child + 1 < t->queue_len && comes_before(&q[child + 1], &q[child]))
            child++;
        if (!comes_before(&q[child], &last))
            break;
        q[i] = q[child];
    }
    q[i] = last;
    q[t->queue_len].places = (struct places){0}; /* they are top's or last's now */
    return top;
}

/* Queues the pairs that have appeared somewhere, with these places. */
static void queue_touched(struct training *t)
{
    for (size_t i = 0; i < t->touched_len; i++) {
        struct pair *p = &t->pairs[t->touched[i]];
        if (p->count > 0)
            queue_push(t, (struct entry){p->count, t->touched[i], p->pair, p->pending});
        else
            free(p->pending.list);
        p->pending = (struct places){0};
    }
    t->touched_len = 0;
}

/* Words as symbols, and their pairs. */
static void start_words(struct training *t, const struct bpe_trainer *from)
{
    int32_t ids[256];
    for (unsigned byte = 0; byte < 256; byte++) {
        struct buf text = {0};
        bpe_append_alphabet(&text, &(unsigned char){(unsigned char)byte}, 1);
        ids[byte] = bpe_find_token(t->bpe, (char *)text.data, text.len);
        buf_free(&text);
    }
    t->words = xmalloc((from->word_count + 1) * sizeof(*t->words));
    t->symbols = xmalloc((from->pool.len + 1) * sizeof(*t->symbols));
    for (size_t i = 0; i < from->pool.len; i++)
        t->symbols[i] = ids[from->pool.data[i]];
    for (uint32_t i = 0; i < from->word_count; i++) {
        struct word *w = &t->words[i];
        *w = from->words[i];
        for (size_t k = 0; k + 1 < w->len; k++)
            add_pair(t, t->symbols[w->start + k], t->symbols[w->start + k + 1], i);
    }
    queue_touched(t);
}

/* Replaces each left, right in a word by `id`. */
static void merge_in_word(struct training *t, uint32_t word, int32_t left, int32_t right, int32_t id)
{
    struct word *w = &t->words[word];
    int32_t *s = t->symbols + w->start;
    size_t out = 0;
    for (size_t i = 0; i < w->len; i++) {
        if (s[i] != left || i + 1 == w->len || s[i + 1] != right) {
            s[out++] = s[i];
            continue;
        }
        if (out > 0) {
            remove_pair(t, s[out - 1], left, word);
            add_pair(t, s[out - 1], id, word);
        }
        i++;
        if (i + 1 < w->len) {
            remove_pair(t, right, s[i + 1], word);
            add_pair(t, id, s[i + 1], word);
        }
        s[out++] = id;
    }
    w->len = out;
}

/* The id of the two tokens' text, new or not. */
static int32_t joined_token(struct bpe *b, int32_t left, int32_t right)
{
    char *text = xasprintf("%s%s", b->tokens[left], b->tokens[right]);
    int32_t id = bpe_find_token(b, text, strlen(text));
    if (id < 0) {
        id = b->vocab;
        bpe_add_token(b, text, id);
    }
    free(text);
    return id;
}

static void merge_pairs(struct training *t, int vocab, void (*progress)(int done, int all))
{
    while (t->bpe->vocab < vocab && t->queue_len > 0) {
        struct entry top = queue_pop(t);
        if (top.count != t->pairs[top.pair].count) {
            top.count = t->pairs[top.pair].count;
            queue_push(t, top);
            continue;
        }
        int32_t left = (int32_t)(top.order >> 32), right = (int32_t)(uint32_t)top.order;
        if (top.count <= 0) {
            free(top.places.list);
            break;
        }
        if (t->merge_count == t->merge_cap)
            t->merges = xrealloc(t->merges, (t->merge_cap = 2 * t->merge_cap + 1024) * sizeof(*t->merges));
        int32_t id = joined_token(t->bpe, left, right);
        t->merges[t->merge_count++] = (struct bpe_merge){left, right, id};
        for (size_t i = 0; i < top.places.len; i++)
            merge_in_word(t, top.places.list[i], left, right, id);
        free(top.places.list);
        queue_touched(t);
        if (progress)
            progress(t->bpe->vocab, vocab);
    }
}

int bpe_trainer_train(struct bpe_trainer *t, int vocab, void (*progress)(int done, int all), struct bpe **b)
{
    *b = NULL;
    if (vocab < 256)
        return err_set(ERR_USAGE, "a vocabulary of %d ids is too small: the bytes alone are 256", vocab);
    struct training training = {.bpe = bpe_new()};
    training.bpe->lower = true;
    bpe_add_alphabet(training.bpe, "");
    start_words(&training, t);
    merge_pairs(&training, vocab, progress);
    for (size_t i = 0; i < training.queue_len; i++)
        free(training.queue[i].places.list);
    free(training.queue);
    free(training.touched);
    free(training.pairs);
    free(training.slots);
    free(training.words);
    free(training.symbols);
    bpe_finish(training.bpe, training.merges, training.merge_count);
    *b = training.bpe;
    return 0;
}
