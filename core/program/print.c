/* SPDX-License-Identifier: Apache-2.0 */
/* Task programs for people: what `restore --plan` shows, and what a failure says. */
#include <ctype.h>
#include <inttypes.h>
#include "core/program/internal.h"
#include "core/util/util.h"

static const char *op_name(const struct prog_op *op, char buf[32])
{
	static const char *const other[] = { [OP_SPAWN] = "spawn", [OP_WAIT] = "wait",
	                                     [OP_POST] = "post", [OP_EXIT] = "exit",
	                                     [OP_LOAD] = "load", [OP_STORE] = "store" };
	const char *name = op->code == OP_SYSCALL ? syscall_name(op->nr) : other[op->code];

	if (name)
		return name;
	snprintf(buf, 32, "syscall_%" PRIu32, op->nr);
	return buf;
}

/* Data that is a printable string is shown as one. */
static bool print_string(const prog *p, const struct crcore_arg *a, FILE *f)
{
	const char *s = (const char *)p->data + p->refs[a->ref].offset + a->value;
	size_t left = p->refs[a->ref].len - a->value;
	size_t n = left ? strnlen(s, left) : 0;

	if (!n || n + 1 != left)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isprint((unsigned char)s[i]))
			return false;
	fprintf(f, n > 60 ? "\"%.60s\"..." : "\"%.60s\"", s);
	return true;
}

static void print_arg(const prog *p, const struct crcore_arg *a, FILE *f)
{
	int64_t v = (int64_t)a->value;

	switch (a->kind) {
	case CRCORE_DATA:
		if (!print_string(p, a, f))
			fprintf(f, "data%" PRIu32 "+%" PRIu64, a->ref, a->value);
		break;
	case CRCORE_RESULT:
		fprintf(f, "result%" PRIu32, a->ref);
		break;
	default:
		fprintf(f, v > -4096 && v < 4096 ? "%" PRId64 : "0x%" PRIx64, v);
	}
}

/* Arguments up to the last that is not 0. */
static unsigned count_args(const struct prog_op *op)
{
	unsigned n = 6;

	while (n && op->arg[n - 1].kind == CRCORE_IMM && !op->arg[n - 1].value)
		n--;
	return n;
}

void prog_print(const prog *p, FILE *f, const char *indent)
{
	char buf[32];

	for (uint32_t i = 0; i < p->nops; i++) {
		const struct prog_op *op = &p->ops[i];
		unsigned n = count_args(op);

		fprintf(f, "%s%3" PRIu32 " %s(", indent, i, op_name(op, buf));
		for (unsigned a = 0; a < n; a++) {
			if (a)
				fputs(", ", f);
			print_arg(p, &op->arg[a], f);
		}
		fputc(')', f);
		if (op->expect == EXPECT_EQUAL)
			fprintf(f, " = %" PRId64, op->want);
		else if (op->expect == EXPECT_ANY)
			fputs(" = any", f);
		if (op->label[0])
			fprintf(f, "  # %s", op->label);
		fputc('\n', f);
	}
}

int prog_failure(const prog *p, pid_t pid, struct crcore_error *err)
{
	const struct program *head = prog_local(p);
	uint32_t i = head ? head->failed_op : UINT32_MAX;
	const char *name = NULL;
	char buf[32];
	int64_t r;

	crcore_fail_at(err, pid, -1, "%s", "");
	if (!head || head->state != PROGRAM_FAILED || i >= p->nops)
		return crcore_fail(err, -EIO, "its task program did not finish");
	r = prog_result(p, i);
	if (r < 0 && r >= -4095)
		name = strerrorname_np((int)-r);
	if (name)
		return crcore_fail(err, (int)r, "operation %" PRIu32 " (%s: %s) failed: %s (%s)", i,
		                   p->ops[i].label, op_name(&p->ops[i], buf), strerror((int)-r), name);
	return crcore_fail(err, -EIO, "operation %" PRIu32 " (%s: %s) returned %" PRId64
	                   ", not %" PRId64, i, p->ops[i].label, op_name(&p->ops[i], buf), r,
	                   p->ops[i].want);
}
