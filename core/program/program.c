/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing a task program and placing it in a region.
 *
 * A program is placed as [struct program | ops | data | stack], each part
 * aligned. Addresses are only known then, so operations keep their arguments
 * symbolic until prog_place(), which may be called again for another place.
 * What a reader could break: prog_size() and prog_place() must agree.
 */
#include <inttypes.h>
#include "core/program/internal.h"
#include "core/util/util.h"

prog *prog_new(void)
{
	return calloc(1, sizeof(prog));
}

void prog_free(prog *p)
{
	if (!p)
		return;
	free(p->ops);
	free(p->refs);
	free(p->pointers);
	free(p->data);
	free(p);
}

static uint32_t broken(prog *p, int code)
{
	if (!p->broken)
		p->broken = code;
	return UINT32_MAX;
}

uint32_t prog_data(prog *p, const void *bytes, size_t len)
{
	size_t at = ALIGN_UP(p->data_len, PROG_DATA_ALIGN);

	if (p->broken)
		return UINT32_MAX;
	if (len > UINT32_MAX || p->nrefs == UINT32_MAX - 1 || !GROW(p->refs, p->nrefs))
		return broken(p, -ENOMEM);
	if (at + len > p->data_cap) {
		size_t cap = ALIGN_UP((at + len) * 2, 4096);
		uint8_t *data = realloc(p->data, cap);
		if (!data)
			return broken(p, -ENOMEM);
		p->data = data;
		p->data_cap = cap;
	}
	memset(p->data + p->data_len, 0, at - p->data_len);
	if (bytes)
		memcpy(p->data + at, bytes, len);
	else
		memset(p->data + at, 0, len);
	p->data_len = at + len;
	p->refs[p->nrefs] = (struct prog_ref){ at, len };
	return p->nrefs++;
}

static bool arg_valid(const prog *p, const struct crcore_arg *a)
{
	switch (a->kind) {
	case CRCORE_IMM:
		return true;
	case CRCORE_DATA:
		return a->ref < p->nrefs && a->value <= p->refs[a->ref].len;
	case CRCORE_RESULT:
		return a->ref < p->nops;
	default:
		return false;
	}
}

static uint32_t append(prog *p, const char *label, uint16_t code, uint32_t nr,
                       const struct crcore_arg args[6], uint32_t expect, int64_t want)
{
	struct prog_op *op;

	if (p->broken)
		return UINT32_MAX;
	for (int i = 0; i < 6; i++)
		if (!arg_valid(p, &args[i]))
			return broken(p, -EINVAL);
	if (expect > EXPECT_EQUAL || code < OP_SYSCALL || code > OP_STORE)
		return broken(p, -EINVAL);
	if (p->nops == UINT32_MAX - 1 || !GROW(p->ops, p->nops))
		return broken(p, -ENOMEM);
	op = &p->ops[p->nops];
	*op = (struct prog_op){ label ? label : "", { { 0 } }, want, nr, code, (uint8_t)expect };
	memcpy(op->arg, args, sizeof(op->arg));
	return p->nops++;
}

uint32_t prog_call(prog *p, const char *label, uint32_t nr, const struct crcore_arg args[6],
                   uint32_t expect, int64_t want)
{
	return append(p, label, OP_SYSCALL, nr, args, expect, want);
}

uint32_t prog_op(prog *p, const char *label, uint16_t code, const struct crcore_arg args[6],
                 uint32_t expect, int64_t want)
{
	return append(p, label, code, 0, args, expect, want);
}

uint32_t prog_region(prog *p, const char *label)
{
	const struct crcore_arg args[6] = { { 0 } };
	uint32_t op = append(p, label, OP_LOAD, 0, args, EXPECT_ANY, 0);

	if (op != UINT32_MAX)
		p->ops[op].arg[0] = (struct crcore_arg){ PROG_HEAD, 0, offsetof(struct program, region) };
	return op;
}

static bool has_room(const prog *p, uint32_t at, uint64_t offset, uint64_t len)
{
	return at < p->nrefs && p->refs[at].len >= len && offset <= p->refs[at].len - len;
}

uint32_t prog_load(prog *p, const char *label, uint32_t at, uint64_t offset)
{
	const struct crcore_arg args[6] = { { CRCORE_DATA, at, offset } };

	if (!p->broken && (offset % 8 || !has_room(p, at, offset, 8)))
		return broken(p, -EINVAL);
	return append(p, label, OP_LOAD, 0, args, EXPECT_ANY, 0);
}

uint32_t prog_store(prog *p, const char *label, uint32_t at, uint64_t offset, uint32_t size,
                    uint32_t op)
{
	const struct crcore_arg args[6] = { { CRCORE_DATA, at, offset }, { CRCORE_RESULT, op, 0 },
		                            { CRCORE_IMM, 0, size } };

	if (!p->broken && ((size != 4 && size != 8) || !has_room(p, at, offset, size)))
		return broken(p, -EINVAL);
	return append(p, label, OP_STORE, 0, args, EXPECT_ANY, 0);
}

void prog_pointer(prog *p, uint32_t at, uint64_t at_offset, uint32_t to, uint64_t to_offset)
{
	if (p->broken)
		return;
	if (!has_room(p, at, at_offset, sizeof(uint64_t)) || to >= p->nrefs ||
	    to_offset > p->refs[to].len)
		broken(p, -EINVAL);
	else if (!GROW(p->pointers, p->npointers))
		broken(p, -ENOMEM);
	else
		p->pointers[p->npointers++] = (struct prog_pointer){ at, to, at_offset, to_offset };
}

uint32_t prog_nops(const prog *p)
{
	return p->nops;
}

void prog_cut(prog *p, uint32_t n)
{
	if (n < p->nops)
		p->nops = n;
}

size_t prog_ops_offset(void)
{
	return ALIGN_UP(sizeof(struct program), PROG_ALIGN);
}

size_t prog_data_offset(const prog *p)
{
	return ALIGN_UP(prog_ops_offset() + p->nops * sizeof(struct op), PROG_ALIGN);
}

size_t prog_size(const prog *p)
{
	return ALIGN_UP(prog_data_offset(p) + p->data_len, PROG_ALIGN) + PROG_STACK;
}

#ifdef CRCORE_FAULT_INJECTION
/*
 * Which operations CRCORE_FAIL_OP makes fail: LABEL (each that has it), LABEL@N
 * (the Nth that has it, from 0, over all programs this process places), #N (the
 * Nth operation of all). Counters of a test aid: the one static state here.
 */
static bool made_to_fail(const char *label)
{
	static uint64_t placed, matched;
	const char *want = getenv("CRCORE_FAIL_OP");
	const char *at;

	if (!want)
		return false;
	if (*want == '#')
		return __atomic_fetch_add(&placed, 1, __ATOMIC_RELAXED) == strtoull(want + 1, NULL, 10);
	at = strrchr(want, '@');
	if (!at)
		return !strcmp(label, want);
	if (strlen(label) != (size_t)(at - want) || strncmp(label, want, (size_t)(at - want)))
		return false;
	return __atomic_fetch_add(&matched, 1, __ATOMIC_RELAXED) == strtoull(at + 1, NULL, 10);
}
#else
static bool made_to_fail(const char *label)
{
	return false;
}
#endif

static void place_op(const prog *p, const struct prog_op *from, struct op *to, uint64_t head)
{
	const uint64_t data = head + prog_data_offset(p);

	*to = (struct op){ .code = from->code, .expect = from->expect, .nr = from->nr,
	                   .want = from->want };
	if (made_to_fail(from->label))
		to->flags |= OP_FAIL;
	for (int i = 0; i < 6; i++) {
		const struct crcore_arg *a = &from->arg[i];
		switch (a->kind) {
		case CRCORE_DATA:
			to->arg[i] = data + p->refs[a->ref].offset + a->value;
			break;
		case CRCORE_RESULT:
			to->arg[i] = a->ref;
			to->result_args |= 1u << i;
			break;
		case PROG_HEAD:
			to->arg[i] = head + a->value;
			break;
		default:
			to->arg[i] = a->value;
		}
	}
}

static void place_pointers(const prog *p, uint8_t *local, uint64_t remote)
{
	for (uint32_t i = 0; i < p->npointers; i++) {
		const struct prog_pointer *q = &p->pointers[i];
		uint64_t address = remote + p->refs[q->to].offset + q->to_offset;
		memcpy(local + p->refs[q->at].offset + q->at_offset, &address, sizeof(address));
	}
}

int prog_place(prog *p, void *local, uint64_t remote, struct crcore_error *err)
{
	struct program *head = local;
	struct op *ops = (void *)((uint8_t *)local + prog_ops_offset());
	size_t data = prog_data_offset(p);

	if (p->broken)
		return crcore_fail(err, p->broken, p->broken == -ENOMEM ?
		                   "out of memory while writing a task program" :
		                   "a task program refers to an operation or data that it does not have");
	*head = (struct program){
		.nops = p->nops,
		.ops = remote + prog_ops_offset(),
		.stack_top = remote + prog_size(p),
	};
	for (uint32_t i = 0; i < p->nops; i++)
		place_op(p, &p->ops[i], &ops[i], remote);
	if (p->data_len)
		memcpy((uint8_t *)local + data, p->data, p->data_len);
	place_pointers(p, (uint8_t *)local + data, remote + data);
	p->local = local;
	return 0;
}

static const struct op *placed_op(const prog *p, uint32_t op)
{
	if (!p->local || op >= p->nops)
		return NULL;
	return (const struct op *)(const void *)(p->local + prog_ops_offset()) + op;
}

int64_t prog_result(const prog *p, uint32_t op)
{
	const struct op *o = placed_op(p, op);

	return o && (__atomic_load_n(&o->flags, __ATOMIC_ACQUIRE) & OP_DONE) ? o->result : -ENODATA;
}

const void *prog_answer(const prog *p, uint32_t ref)
{
	if (ref >= p->nrefs)
		return NULL;
	return (p->local ? p->local + prog_data_offset(p) : p->data) + p->refs[ref].offset;
}

struct program *prog_local(const prog *p)
{
	return (struct program *)(void *)p->local;
}

const char *prog_label(const prog *p, uint32_t op)
{
	return op < p->nops ? p->ops[op].label : "";
}
