/*
 * libFuzzer: messages to a link from a peer, through real sockets. The first byte's lowest bit picks a link that feeds
 * or one that takes. Each message is a byte of its type (255: raw frames), seven small numbers, a length, and its body;
 * heads get their checksums. When all were sent the link must still answer a HELLO.
 */
#include "common/link.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ANSWER_TRIES 5000 /* of a millisecond */

static struct link *links[2];
static double now;
static uint64_t session = 1000;

static void open_link(int which)
{
    char uri[80];
    snprintf(uri, sizeof uri, "bind+ipc:///tmp/fuzz-link-%d-%d", (int)getpid(), which);
    link_close(&links[which]);
    if (link_open(&links[which], uri,
                  &(struct link_options){.role = which ? LINK_FEEDER : LINK_WORKER,
                                         .run = "a run",
                                         .credit_items = 1000,
                                         .credit_bytes = 1 << 20}) < 0)
        abort();
}

static void *connect_to(int which)
{
    static void *context;
    char uri[80];
    if (!context)
        context = zmq_ctx_new();
    snprintf(uri, sizeof uri, "ipc:///tmp/fuzz-link-%d-%d", (int)getpid(), which);
    void *socket = zmq_socket(context, ZMQ_DEALER);
    if (zmq_connect(socket, uri) != 0)
        abort();
    return socket;
}

static void feed(struct link *l)
{
    struct record r = {0};
    struct buf body = {0};
    zmq_msg_t message;
    for (uint64_t id = 0; id < 3; id++) {
        record_set_u64(&r, FIELD_ID, id);
        record_set_string(&r, FIELD_CAPTION, "a caption", 9);
        link_record_pack(&body, &r);
    }
    link_body(&message, &body);
    link_feed(l, &message, 3, 0);
    link_seal(l, 1);
    record_free(&r);
}

/* What a link that takes was given goes where a program would put it. */
static void take(struct link *l)
{
    struct link_batch batch;
    while (link_take(l, &batch)) {
        const unsigned char *body = zmq_msg_data(&batch.body), *data;
        struct link_records records = {body, body + zmq_msg_size(&batch.body)};
        struct record r = {0};
        size_t len;
        int rc = 0;
        while (rc == 0 && link_record_next(&records, &data, &len))
            rc = record_unpack(&r, data, len);
        if (rc < 0) {
            link_nack(l, batch.ticket, LINK_PERMANENT, "damaged");
        } else {
            link_pass(l, batch.ticket);
            link_ack(l, batch.ticket);
        }
        record_free(&r);
        zmq_msg_close(&batch.body);
    }
}

static void send_message(void *socket, const uint8_t *m, const uint8_t *body, size_t len)
{
    unsigned char head[LINK_HEAD_BYTES];
    static const uint64_t numbers[] = {0, 1, 2, 3, 4, 1 << 20, LINK_END_BATCH - 1, LINK_END_BATCH};
    if (m[0] == 255) {
        for (int more = m[1] % 4; more >= 0; more--)
            zmq_send(socket, body, len, more ? ZMQ_SNDMORE | ZMQ_DONTWAIT : ZMQ_DONTWAIT);
        return;
    }
    const struct link_head h = {.type = m[0],
                                .session = m[1] == 0 ? 0 : session + m[1] % 3,
                                .batch = m[2] < 8 ? numbers[m[2]] : m[2],
                                .sequence = m[3] < 8 ? numbers[m[3]] : m[3],
                                .attempt = m[4],
                                .items = m[5]};
    link_head_pack(&h, body, len, head);
    zmq_send(socket, head, sizeof head - (m[6] == 255), ZMQ_SNDMORE | ZMQ_DONTWAIT);
    zmq_send(socket, body, len, ZMQ_DONTWAIT);
}

/* Until the link answers in the session: it has taken all that was sent before. */
static bool is_answered(struct link *l, void *socket, uint64_t wanted)
{
    for (int tries = 0; tries < ANSWER_TRIES; tries++) {
        if (link_service(l, now += 0.001) < 0)
            return false;
        take(l);
        unsigned char head[LINK_HEAD_BYTES], body[4096];
        zmq_pollitem_t items[2] = {{.socket = socket, .events = ZMQ_POLLIN},
                                   {.socket = link_socket(l), .events = ZMQ_POLLIN}};
        zmq_poll(items, 2, 1);
        while (zmq_recv(socket, head, sizeof head, ZMQ_DONTWAIT) >= 0) {
            struct link_head h;
            int len = zmq_recv(socket, body, sizeof body, ZMQ_DONTWAIT);
            if (len < 0 || len > (int)sizeof body || link_head_unpack(&h, head, sizeof head, body, (size_t)len) < 0)
                abort();
            if (h.type == LINK_HELLO && h.session == wanted)
                return true;
        }
    }
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void *sockets[2];
    if (size == 0)
        return 0;
    int which = data[0] & 1;
    if (!links[which]) {
        open_link(which);
        sockets[which] = connect_to(which);
    }
    void *socket = sockets[which];
    if (which && link_counts(links[which])->open_items < 30)
        feed(links[which]);
    session += 4;
    for (size_t at = 1; at + 8 <= size;) {
        size_t len = data[at + 7] < size - at - 8 ? data[at + 7] : size - at - 8;
        send_message(socket, data + at, data + at + 8, len);
        at += 8 + len;
    }
    unsigned char hello[] = {which ? LINK_WORKER : LINK_FEEDER, 'a', ' ', 'r', 'u', 'n'};
    send_message(socket, (const uint8_t[8]){LINK_HELLO, 3}, hello, sizeof hello);
    if (!is_answered(links[which], socket, session))
        open_link(which); /* a reject that this peer refuses for ever stops a link, with an error */
    const struct link_counts *c = link_counts(links[which]);
    if (c->open_items > 1 << 20 || c->pending_items > c->open_items || c->pending_bytes > c->open_bytes)
        abort();
    uint64_t ticket;
    while (which && link_next_settled(links[which], &ticket))
        continue;
    return 0;
}
