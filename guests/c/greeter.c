/* A vat in C: answers greet(name) with "hello, name", and anything else with a rejection.
 *
 *   clang-19 --target=wasm32-unknown-unknown -Oz -nostdlib -ffreestanding -Wl,--no-entry -Wl,--strip-all \
 *       -Wl,--stack-first -Wl,-z,stack-size=65536 -o vats/greeter.wasm guests/c/greeter.c
 *
 * Built with Debian clang version 19.1.7 (3~deb12u1)
 */
#include "../vat1.h"

VAT_INTERFACE({"vathost-interface":1,"exo":"Greeter","doc":"Greets.","methods":[
    {"name":"greet","doc":"Answers with hello and the name.","args":[{"name":"name","type":"string"}],"answer":"string"}]})
VAT_INTERFACE({"vathost-interface":1,"root":"Greeter"})

static const char GREET[] = "#[\"greet\",[\"";
static const char HELLO[] = "#\"hello, ";
static const char NO[] = "#{\"#error\":\"greet whom?\",\"name\":\"Error\"}";

/* The head of a message, then its capdata. */
static struct {
    vat_u32 kind, n;
    vat_ref target, result;
    vat_u32 body_len, nslots;
    char rest[1024];
} in;
static char out[1024];

static char *append(char *to, const char *text, vat_u32 len) {
    while (len--) *to++ = *text++;
    return to;
}

__attribute__((export_name("vat_deliver"))) void vat_deliver(vat_u32 len) {
    vat_input_read(&in, 0, len < sizeof in ? len : sizeof in);
    if (in.kind != VAT_MESSAGE || in.result == 0) return;
    vat_resolution answer = {.promise = in.result, .rejected = 1, .body = NO, .body_len = sizeof NO - 1};
    const char *body = in.rest + 8 * in.nslots, *name = body + sizeof GREET - 1;
    const char *end = body + in.body_len - 3; /* "]] */
    int known = len <= sizeof in && in.body_len > sizeof GREET + 2 && in.nslots == 0;
    for (vat_u32 i = 0; known && i < sizeof GREET - 1; i++) known = body[i] == GREET[i];
    for (const char *c = name; known && c < end; c++) known = *c != '"' && *c != '\\';
    if (known && end[0] == '"' && !(name[0] >= '!' && name[0] <= '-')) {
        char *last = append(append(out, HELLO, sizeof HELLO - 1), name, (vat_u32)(end - name));
        *last++ = '"';
        answer = (vat_resolution){.promise = in.result, .body = out, .body_len = (vat_u32)(last - out)};
    }
    vat_resolve(&answer, 1);
}
