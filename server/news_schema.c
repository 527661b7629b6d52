/* SPDX-License-Identifier: MIT
 *
 * news_schema.c - response_format json_schema: which schemas can be kept. The model is asked for
 * fields of a news page one by one, each answer is a text or there is none; a schema that such an
 * object always satisfies is taken, any other refused by the word that it fails on. Rejected:
 * ignoring words that are not understood, because the client was promised that they hold.
 */
#include "server_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct reading {
    task *task;
    char *problem;
    size_t cap;
} reading;

static bool refuse(const reading *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool refuse(const reading *r, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(r->problem, r->cap, fmt, args);
    va_end(args);
    return false;
}

static bool is_one_of(const char *word, const char *const *list) {
    while (*list && strcmp(*list, word) != 0) list++;
    return *list != NULL;
}

/* Words that say nothing about what is valid, and those of `more`. */
static bool knows_words(const reading *r, const char *where, json_t *object,
                        const char *const *more) {
    static const char *const notes[] = {"title",   "description", "examples", "default",
                                        "$schema", "$id",         "$comment", NULL};
    const char *word;
    json_t *ignored;
    json_object_foreach(object, word, ignored) {
        (void)ignored;
        if (!is_one_of(word, notes) && !is_one_of(word, more))
            return refuse(r, "%.64s: \"%.32s\" cannot be promised", where, word);
    }
    return true;
}

/* Does the type, or one of a list of types, allow this one? */
static bool allows(const json_t *type, const char *name) {
    const json_t *one;
    size_t i;
    if (json_is_string(type)) return strcmp(json_string_value(type), name) == 0;
    json_array_foreach(type, i, one) if (json_is_string(one) &&
                                         strcmp(json_string_value(one), name) == 0) return true;
    return false;
}

/* {"type": "string"}, {"type": ["string", "null"]} or anyOf of these. */
static bool read_property(const reading *r, const char *name, json_t *property, bool *text,
                          bool *null) {
    static const char *const words[] = {"type", "anyOf", NULL};
    json_t *either = json_object_get(property, "anyOf"), *one;
    const json_t *type = json_object_get(property, "type");
    size_t i;
    if (!json_is_object(property)) return refuse(r, "%.64s: expected an object", name);
    if (!knows_words(r, name, property, words)) return false;
    if (type && either) return refuse(r, "%.64s: type and anyOf", name);
    *text |= allows(type, "string");
    *null |= allows(type, "null");
    json_array_foreach(either, i, one) {
        const json_t *type_of_one = json_object_get(one, "type");
        if (!json_is_object(one) || !knows_words(r, name, one, words)) return false;
        *text |= allows(type_of_one, "string");
        *null |= allows(type_of_one, "null");
    }
    return *text || refuse(r, "%.64s: a field is a string, or a string or null", name);
}

static bool read_properties(const reading *r, json_t *properties) {
    const char *name;
    json_t *property;
    json_object_foreach(properties, name, property) {
        bool text = false, null = false;
        if (!input_add_field(r->task, name, strlen(name)))
            return refuse(
                r, "property \"%.64s\", expected some of headline, byline, site, date, lead", name);
        if (!read_property(r, name, property, &text, &null)) return false;
        r->task->answers[r->task->n_questions - 1].never_null = !null;
    }
    return r->task->n_questions > 0 ||
           refuse(r, "no properties, expected some of headline, byline, site, date, lead");
}

bool news_schema_read(task *t, const json_t *schema, char *problem, size_t cap) {
    static const char *const words[] = {"type", "properties", "required", "additionalProperties",
                                        NULL};
    reading r = {t, problem, cap};
    json_t *object = (json_t *)(uintptr_t)schema; /* jansson iterates over what is not const */
    json_t *properties = json_object_get(schema, "properties");
    const json_t *required = json_object_get(schema, "required"), *name;
    const json_t *type = json_object_get(schema, "type");
    size_t i;
    if (!json_is_object(schema) || !json_is_object(properties))
        return refuse(&r, "expected a json_schema with schema.properties");
    if (!knows_words(&r, "schema", object, words) || !read_properties(&r, properties)) return false;
    if (type && !allows(type, "object")) return refuse(&r, "schema: the answer is an object");
    json_array_foreach(required, i, name) {
        const char *text = json_string_value(name);
        if (!text || !json_object_get(properties, text))
            return refuse(&r, "required: \"%.64s\" is no property", text ? text : "?");
    }
    return true;
}
