/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plugins that are loaded when they are needed. To load one takes longer than to save a
 * small process, and most trees have nothing of what most plugins are for. Which objects
 * a plugin is for stands in a note of its file (CRCORE_ONLY_FOR), at the beginning of it.
 */
#include <elf.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include "core/host/internal.h"
#include "core/util/util.h"

#define HEAD 4096 /* bytes: the linker puts notes first */

/* Both notes have one form. */
#define IS_NOTE(note, kind, size_of) \
	((note).type == (kind) && (note).name_size == sizeof((note).name) && \
	 (note).size == (size_of) && !memcmp((note).name, "crcore", sizeof("crcore")))

static bool take_note(const struct crcore_note *note, struct later *ret)
{
	struct crcore_device_note devices;

	_Static_assert(sizeof(devices) == sizeof(*note), "notes of one size");
	memcpy(&devices, note, sizeof(devices));
	if (IS_NOTE(devices, CRCORE_NOTE_NOT_FOR_DEVICES, sizeof(devices.majors)))
		memcpy(ret->not_majors, devices.majors, sizeof(ret->not_majors));
	if (!IS_NOTE(*note, CRCORE_NOTE_ONLY_FOR, sizeof(note->types) + sizeof(note->link)))
		return false;
	ret->types = note->types;
	snprintf(ret->link, sizeof(ret->link), "%.*s", (int)sizeof(note->link), note->link);
	return true;
}

/* The plugin's notes among those of a segment. */
static bool find_notes(const uint8_t *at, size_t len, struct later *ret)
{
	struct crcore_note note;
	bool found = false;

	for (size_t size; len >= sizeof(note); at += size, len -= size) {
		memcpy(&note, at, sizeof(note));
		size = sizeof(Elf64_Nhdr) + ALIGN_UP((size_t)note.name_size, 4) +
		       ALIGN_UP((size_t)note.size, 4);
		found |= take_note(&note, ret);
		if (size > len)
			break;
	}
	return found;
}

/* False if the file does not say, or not where we look: then it is loaded at once. */
static bool read_note(const char *path, struct later *ret)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t head[HEAD] __attribute__((aligned(8)));
	const Elf64_Ehdr *e = (const void *)head;
	ssize_t n = fd < 0 ? -1 : pread(fd, head, sizeof(head), 0);

	if (n < (ssize_t)sizeof(*e) || memcmp(e->e_ident, ELFMAG, SELFMAG) ||
	    e->e_ident[EI_CLASS] != ELFCLASS64 || e->e_phentsize != sizeof(Elf64_Phdr) ||
	    e->e_phoff > HEAD || e->e_phoff + e->e_phnum * sizeof(Elf64_Phdr) > (size_t)n)
		return false;
	for (unsigned i = 0; i < e->e_phnum; i++) {
		Elf64_Phdr p;
		memcpy(&p, head + e->e_phoff + i * sizeof(p), sizeof(p));
		if (p.p_type == PT_NOTE && p.p_offset < (size_t)n && p.p_filesz <= (size_t)n - p.p_offset &&
		    find_notes(head + p.p_offset, p.p_filesz, ret))
			return true;
	}
	return false;
}

int later_add(const struct crcore_ctx *ctx, struct crcore_error *err)
{
	struct host *h = ctx->host;
	struct later l = { .key = ctx->key, .place = ctx->place };

	/* What the plugin at a path is called only it knows. */
	if (!h->patient || strchr(ctx->key, '/') || !read_note(ctx->path, &l))
		return 0;
	if (!GROW(h->later, h->nlater))
		return crcore_no_memory(err);
	h->later[h->nlater++] = l;
	return 1;
}

static int check_hooks(const struct crcore_ctx *ctx, struct crcore_error *err)
{
	const struct crcore_plugin *p = &ctx->p;

	if (!p->observe && !p->pause && !p->wake && !p->rest)
		return 0;
	snprintf(err->plugin, sizeof(err->plugin), "%s", p->name);
	crcore_advise(err, "take CRCORE_ONLY_FOR out of the plugin");
	return crcore_fail(err, -EINVAL, "is loaded when an object is met, and has hooks that come "
	                   "before");
}

/* Takes its place among the others, in every stage. */
static int load(struct host *h, const struct later *l, struct crcore_error *err)
{
	struct crcore_ctx *ctx = NULL;
	struct finder finder;
	int rc = limit_start(h, err);

	if (rc < 0)
		return rc;
	finder_start(&finder);
	rc = host_load_one(h, &finder, l->key, l->place, true, &ctx, err);
	if (rc == 0)
		rc = check_hooks(ctx, err);
	if (rc == 0 && (rc = host_open(ctx, err)) == 0)
		rc = host_sort(h, err);
	if (rc < 0 && ctx)
		host_drop(ctx);
	limit_stop(h);
	return rc;
}

static bool concerns(const struct later *l, const struct crcore_object *obj)
{
	const size_t n = strlen(l->link);
	bool type = l->types & CRCORE_TYPE(obj->st.st_mode & S_IFMT);

	if (S_ISCHR(obj->st.st_mode) || S_ISBLK(obj->st.st_mode))
		for (size_t i = 0; type && i < ARRAY_SIZE(l->not_majors); i++)
			type = !l->not_majors[i] || l->not_majors[i] != major(obj->st.st_rdev);
	return type || (n && obj->link && !strncmp(obj->link, l->link, n));
}

int later_load(struct host *h, const struct crcore_object *obj, struct crcore_error *err)
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < h->nlater;) {
		if (obj ? !concerns(&h->later[i], obj) : !h->later[i].types && !h->later[i].link[0]) {
			i++;
			continue;
		}
		const struct later l = h->later[i];
		h->nlater--;
		memmove(&h->later[i], &h->later[i + 1], (h->nlater - i) * sizeof(l));
		rc = load(h, &l, err);
	}
	return rc;
}

int host_load_for(struct host *h, mode_t mode, dev_t dev, struct crcore_error *err)
{
	const struct crcore_object obj = { .size = sizeof(obj),
		                               .st = { .st_mode = mode, .st_rdev = dev }, .link = "" };

	return h->nlater ? later_load(h, &obj, err) : 0;
}

int host_load_rest(struct host *h, struct crcore_error *err)
{
	return later_load(h, NULL, err);
}
