/*
 * Links over a connection that loses, repeats and delays messages: a relay between a feeder and two workers, with a
 * clock of the test's. Whatever it does, each batch is settled once, and a worker holds no more than its credit.
 * LINK_SEEDS=N tries N seeds instead of a few.
 */
#include "scratch.h"

#include "common/link.h"
#include "common/link_wire.h"
#include "common/log.h"
#include "common/random.h"
#include <unistd.h>

#define WORKERS 2
#define BATCHES 60
#define CREDIT 8
#define LATE 32     /* messages kept back at once */
#define TYPE_BYTE 5 /* of a head */

/* Stands between one worker and the feeder. */
struct relay {
    void *front, *back;
    zmq_msg_t name;   /* the worker's */
    unsigned to_lose; /* DATA counted down to the one that is lost; 0: none */
    struct {
        zmq_msg_t head, body;
        bool forward; /* to the worker */
    } late[LATE];
    size_t late_count;
};

static double now = 1000;
static void *context;
static struct link *feeder, *workers[WORKERS];
static struct relay relays[WORKERS];
static uint64_t seed, drawn;
static unsigned disorder; /* of a thousand messages, how many are lost, repeated, delayed: each */

static unsigned draw(unsigned below)
{
    return random_philox(seed, 5, drawn++).v[0] % below;
}

static void *socket_at(int type, const char *name, bool binds)
{
    const int linger = 0;
    char *uri = xasprintf("ipc://%s", scratch_path(name));
    void *socket = zmq_socket(context, type);
    assert_int_equal(zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger), 0);
    assert_int_equal((binds ? zmq_bind : zmq_connect)(socket, uri), 0);
    free(uri);
    return socket;
}

static void send_copy(void *socket, zmq_msg_t *message, int flags)
{
    zmq_msg_t copy;
    zmq_msg_init(&copy);
    zmq_msg_copy(&copy, message);
    if (zmq_msg_send(&copy, socket, flags | ZMQ_DONTWAIT) < 0)
        zmq_msg_close(&copy);
}

static void send_on(struct relay *r, bool forward, zmq_msg_t *head, zmq_msg_t *body)
{
    if (forward)
        send_copy(r->front, &r->name, ZMQ_SNDMORE);
    send_copy(forward ? r->front : r->back, head, ZMQ_SNDMORE);
    send_copy(forward ? r->front : r->back, body, 0);
}

static bool loses(struct relay *r, bool forward, const zmq_msg_t *head)
{
    const unsigned char type = ((unsigned char *)zmq_msg_data((zmq_msg_t *)head))[TYPE_BYTE];
    if (forward && type == LINK_DATA && r->to_lose > 0 && --r->to_lose == 0)
        return true;
    return draw(1000) < disorder;
}

/* One message, if there is one: on, or what else becomes of it. */
static bool relay_one(struct relay *r, bool forward)
{
    zmq_msg_t head, body;
    void *from = forward ? r->back : r->front;
    if (!forward) {
        zmq_msg_t name;
        zmq_msg_init(&name);
        if (zmq_msg_recv(&name, from, ZMQ_DONTWAIT) < 0)
            return false;
        zmq_msg_move(&r->name, &name);
        zmq_msg_close(&name);
    }
    zmq_msg_init(&head);
    zmq_msg_init(&body);
    if (zmq_msg_recv(&head, from, ZMQ_DONTWAIT) < 0)
        return false;
    zmq_msg_recv(&body, from, 0);
    if (!loses(r, forward, &head)) {
        if (draw(1000) < disorder && r->late_count < LATE) {
            size_t at = r->late_count++;
            zmq_msg_init(&r->late[at].head);
            zmq_msg_init(&r->late[at].body);
            zmq_msg_copy(&r->late[at].head, &head);
            zmq_msg_copy(&r->late[at].body, &body);
            r->late[at].forward = forward;
        } else {
            send_on(r, forward, &head, &body);
        }
        if (draw(1000) < disorder)
            send_on(r, forward, &head, &body);
    }
    zmq_msg_close(&head);
    zmq_msg_close(&body);
    return true;
}

static void release_late(struct relay *r)
{
    size_t at = draw((unsigned)r->late_count);
    send_on(r, r->late[at].forward, &r->late[at].head, &r->late[at].body);
    zmq_msg_close(&r->late[at].head);
    zmq_msg_close(&r->late[at].body);
    r->late[at] = r->late[--r->late_count];
}

/* Half a second goes by. */
static void step(void)
{
    now += 0.5;
    for (int i = 0; i < 12; i++) {
        assert_int_equal(link_service(feeder, now), 0);
        for (int w = 0; w < WORKERS; w++) {
            struct relay *r = &relays[w];
            if (workers[w])
                assert_int_equal(link_service(workers[w], now), 0);
            while (relay_one(r, true) || relay_one(r, false))
                ;
            if (r->late_count > 0 && (disorder == 0 || draw(20) == 0))
                release_late(r);
        }
        usleep(300);
    }
}

static void open_worker(int w)
{
    const char *const names[WORKERS] = {"first", "second"};
    char *uri = xasprintf("ipc://%s", scratch_path(names[w]));
    relays[w].front = socket_at(ZMQ_ROUTER, names[w], true);
    relays[w].back = socket_at(ZMQ_DEALER, "feeder", false);
    zmq_msg_init(&relays[w].name);
    const struct link_options o = {.role = LINK_WORKER, .credit_items = CREDIT, .credit_bytes = 1 << 20};
    assert_int_equal(link_open(&workers[w], uri, &o), 0);
    free(uri);
}

static int open_all(void **state)
{
    (void)state;
    char *uri = xasprintf("bind+ipc://%s", scratch_path("feeder"));
    context = zmq_ctx_new();
    assert_int_equal(link_open(&feeder, uri, &(struct link_options){.role = LINK_FEEDER}), 0);
    free(uri);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    disorder = 0;
    for (int w = 0; w < WORKERS; w++) {
        link_close(&workers[w]);
        while (relays[w].late_count > 0)
            release_late(&relays[w]);
        if (relays[w].front) {
            zmq_msg_close(&relays[w].name);
            zmq_close(relays[w].front);
            zmq_close(relays[w].back);
        }
        relays[w] = (struct relay){0};
    }
    link_close(&feeder);
    zmq_ctx_term(context);
    return 0;
}

static void feed(uint64_t ticket, uint32_t items)
{
    zmq_msg_t body;
    struct buf bytes = {0};
    struct record r = {0};
    for (uint32_t i = 0; i < items; i++) {
        record_set_u64(&r, FIELD_ID, ticket);
        link_record_pack(&bytes, &r);
    }
    record_free(&r);
    link_body(&body, &bytes);
    link_feed(feeder, &body, items, 0);
    link_seal(feeder, ticket);
}

/* A DATA message that a connection loses is noticed, whether others follow it or it is the last; nobody is blamed. */
static void test_lost_data(void **state)
{
    (void)state;
    for (unsigned lost = 1; lost <= 3; lost++) {
        unsigned settled = 0;
        uint64_t ticket;
        open_all(NULL);
        open_worker(0);
        relays[0].to_lose = lost;
        for (int i = 0; i < 4; i++)
            step();
        for (uint64_t i = 1; i <= 3; i++)
            feed(i, 1);
        for (int i = 0; i < 10; i++) {
            struct link_batch b;
            step();
            while (link_take(workers[0], &b)) {
                zmq_msg_close(&b.body);
                link_ack(workers[0], b.ticket);
            }
            while (link_next_settled(feeder, &ticket))
                settled++;
        }
        assert_int_equal(relays[0].to_lose, 0);
        assert_int_equal(settled, 3);
        assert_int_equal(link_counts(feeder)->resent, 1);
        assert_int_equal(link_counts(feeder)->deaths, 0);
        close_all(NULL);
    }
}

/* What a worker has in its hands, and what becomes of it. */
struct held {
    uint64_t ticket;
    bool reject; /* no stage works on it, so none refuses it */
};
struct hand {
    struct held taken[CREDIT + BATCHES], passed[CREDIT + BATCHES];
    size_t taken_count, passed_count;
};

static struct held draw_out(struct held *batches, size_t *count)
{
    size_t at = draw((unsigned)*count);
    struct held one = batches[at];
    batches[at] = batches[--*count];
    return one;
}

/* Whether the batch's first record is a reject; the link makes one of a record that travels alone. */
static bool begins_with_reject(zmq_msg_t *body)
{
    const unsigned char *data = zmq_msg_data(body);
    size_t len = zmq_msg_size(body);
    struct link_records records = {data, data + len};
    struct record r = {0};
    assert_true(link_record_next(&records, &data, &len));
    assert_int_equal(record_unpack(&r, data, len), 0);
    bool reject = record_has(&r, FIELD_REJECT);
    record_free(&r);
    return reject;
}

static void work(struct link *l, struct hand *h)
{
    struct link_batch b;
    const size_t most = sizeof h->taken / sizeof *h->taken;
    while (h->taken_count < most && draw(2) && link_take(l, &b)) {
        h->taken[h->taken_count++] = (struct held){b.ticket, begins_with_reject(&b.body)};
        zmq_msg_close(&b.body);
    }
    while (h->taken_count > 0 && h->passed_count < most && draw(3)) {
        struct held batch = draw_out(h->taken, &h->taken_count);
        if (draw(20) == 0 && !batch.reject) {
            link_nack(l, batch.ticket, draw(4) ? LINK_RETRY : LINK_PERMANENT, "by chance");
            continue;
        }
        link_pass(l, batch.ticket);
        h->passed[h->passed_count++] = batch;
    }
    while (h->passed_count > 0 && draw(3))
        link_ack(l, draw_out(h->passed, &h->passed_count).ticket);
}

static void try_seed(uint64_t number)
{
    static struct hand hands[WORKERS];
    unsigned settled[BATCHES + 1] = {0}, done = 0;
    uint64_t ticket;
    seed = number;
    drawn = 0;
    disorder = 20 + draw(100);
    memset(hands, 0, sizeof hands);
    open_all(NULL);
    for (int w = 0; w < WORKERS; w++)
        open_worker(w);
    for (uint64_t i = 1; i <= BATCHES; i++)
        feed(i, 1 + draw(4));
    for (int i = 0; i < 400 && done < BATCHES; i++) {
        if (i == 60)
            disorder = 0;
        step();
        for (int w = 0; w < WORKERS; w++) {
            /* One batch more than its credit at most; what is held after it was passed on needs none. */
            assert_in_range(link_counts(workers[w])->pending_items, 0, CREDIT + 3);
            work(workers[w], &hands[w]);
        }
        while (link_next_settled(feeder, &ticket)) {
            assert_in_range(ticket, 1, BATCHES);
            settled[ticket]++;
            done++;
        }
    }
    for (int i = 1; i <= BATCHES; i++)
        if (settled[i] != 1)
            fail_msg("seed %u: batch %d was settled %u times", (unsigned)number, i, settled[i]);
    assert_int_equal(link_counts(feeder)->open_items, 0);
    assert_int_equal(link_counts(feeder)->open_bytes, 0);
    assert_int_equal(link_counts(feeder)->pending_items, 0);
    close_all(NULL);
}

static void test_disorder(void **state)
{
    (void)state;
    const char *many = getenv("LINK_SEEDS");
    const unsigned long count = many ? strtoul(many, NULL, 10) : 6;
    for (unsigned long i = 1; i <= count; i++)
        try_seed(i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lost_data), cmocka_unit_test(test_disorder)};
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
