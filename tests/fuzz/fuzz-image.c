/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzz target: an image's manifest and core records, in memory, past the
 * checksums (which would otherwise refuse every mutation). The first byte says
 * what the rest is:
 *
 *   even: the manifest without its ending, which is made right here;
 *   odd:  sections: { number, length (2 bytes, little endian), bytes } ...
 *         Those that begin at NSECTIONS belong to the image that it was made on, and so on.
 *
 * Records that pass the check are walked the way restore and show do, and a restore of the
 * memory is planned.
 */
#include "core/image/image_priv.h"
#include "core/image/core_records.h"
#include "core/memory/memory.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/sample-image.h"

static const char *const sections[] = {
	"core.task.img", "core.mm.img", "core.files.img", "core.fs.img", "core.sighand.img",
	"core.object.img", "core.segment.img",
};
enum { NSECTIONS = ARRAY_SIZE(sections), IMAGES = 3 };

static struct image *empty_image(void)
{
	struct image *img = calloc(1, sizeof(*img));

	img->path = strdup("fuzz");
	img->dir = img->parent = img->marker = -1;
	pthread_mutex_init(&img->lock, NULL);
	return img;
}

/* Every block of a bulk file lies in it: what verify and restore rely on. */
static bool is_sound(const struct image_file *f)
{
	uint64_t at;
	size_t n;

	for (uint64_t i = 0; f->kind == FILE_BULK && i < f->nblocks; i++) {
		bulk_stored_at(f, i, &at, &n);
		if (!n || n > IMAGE_BLOCK || at > f->length || n > f->length - at)
			return false;
	}
	return f->kind != FILE_BULK || bulk_count(bulk_length(f)) == f->nblocks;
}

static void fuzz_manifest(const uint8_t *data, size_t len)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct image *img = empty_image();
	unsigned char *bytes = malloc(len + 10);

	if (len)
		memcpy(bytes, data, len);
	uint64_t sum = XXH3_64bits(bytes, len);
	memcpy(bytes + len, "\xa1\x06", 2);
	memcpy(bytes + len + 2, &sum, 8);
	int r = manifest_parse(img, bytes, len + 10, &err);
	if (r < 0 && (!err.code || !err.message[0] || !err.object[0]))
		abort();
	for (unsigned i = 0; r == 0 && i < img->nfiles; i++)
		if (!image_plain_name(img->files[i]->name) || !is_sound(img->files[i]))
			abort();
	free(bytes);
	image_close(img);
}

/* The sample's manifest, unpacked so that image_close() can free it. */
static Crcore__Manifest *make_manifest(uint32_t tasks, uint32_t root)
{
	unsigned char buf[1024];
	Crcore__Manifest m;
	Crcore__File pages = CRCORE__FILE__INIT, *files[] = { &pages };

	sample_manifest(&m);
	m.tasks = tasks;
	m.root_pid = root;
	pages.name = (char *)"pages-1.bin";
	pages.length = 4 * PAGE;
	m.files = files;
	m.n_files = 1;
	if (crcore__manifest__get_packed_size(&m) > sizeof(buf))
		abort();
	return crcore__manifest__unpack(NULL, crcore__manifest__pack(&m, buf), buf);
}

static void add_section(struct image *img, unsigned number, const uint8_t *p, size_t n)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	const char *name = sections[number % NSECTIONS];

	for (unsigned i = 0; i < number / NSECTIONS % IMAGES; i++)
		img = img->older = img->older ? img->older : empty_image();
	if (image_file_find(img, name))
		return;
	struct image_file *f = image_file_add(img, name, FILE_RECORDS, &err);
	f->buf = malloc(n);
	if (n)
		memcpy(f->buf, p, n);
	f->used = f->length = n;
}

static int count_one(void *arg, const void *msg, size_t len, struct crcore_error *err)
{
	++*(uint32_t *)arg;
	return 0;
}

/* What a restore relies on once memory_runs() has passed: everything is in bounds. */
static void walk_memory(struct image *img, struct core_records *c)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct layouts l = { 0 };

	if (memory_runs(img, c, 4 * PAGE, &err) < 0) {
		if (!err.code || !err.message[0])
			abort();
		return;
	}
	for (unsigned i = 0; i < c->nmms; i++) {
		const Crcore__Mm *m = c->mms[i];
		for (size_t k = 0; k < m->n_runs; k++) {
			const Crcore__Run *r = m->runs[k];
			if (r->source == CRCORE__SOURCE__PAGES &&
			    r->offset + r->pages * PAGE > 4 * PAGE)
				abort();
			if (r->source == CRCORE__SOURCE__OTHER && !core_mm(c, r->mm))
				abort();
		}
		if (m->n_kept)
			abort();
	}
	(void)layouts_plan(c->tasks, c->ntasks, NULL, c->mms, c->nmms, 1 << 20, &l, &err);
	layouts_free(&l);
}

/* Uses what core_records.h promises. */
static void walk(const struct core_records *c)
{
	for (unsigned i = 0; i < c->ntasks; i++) {
		const Crcore__Task *t = c->tasks[i];
		if (t->state == CRCORE__TASK_STATE__ZOMBIE)
			continue;
		if (t->threads[0]->tid != t->pid || !t->threads[t->n_threads - 1]->creds)
			abort();
		if (i && core_task_index(c, t->ppid) == c->ntasks)
			abort();
		if (core_object(c, core_mm(c, t->mm)->exe)->class_ != CRCORE_FILE)
			abort();
		const Crcore__Files *f = core_files(c, t->files);
		for (size_t j = 0; j < f->n_fds; j++)
			if (core_object(c, f->fds[j]->object)->class_ != CRCORE_DESCRIPTION)
				abort();
		if (!core_object(c, core_fs(c, t->fs)->cwd) ||
		    core_sighand(c, t->sighand)->actions[63].len != 32)
			abort();
	}
}

static void fuzz_records(const uint8_t *p, size_t left)
{
	struct crcore_error err = CRCORE_ERROR_INIT;
	struct core_records c;
	struct image *img = empty_image();
	uint32_t tasks = 0;

	while (left >= 3) {
		size_t n = p[1] | (size_t)p[2] << 8;
		n = n < left - 3 ? n : left - 3;
		add_section(img, p[0], p + 3, n);
		p += 3 + n;
		left -= 3 + n;
	}
	(void)image_each(img, "core", "task", count_one, &tasks, NULL);
	img->manifest = make_manifest(tasks, SAMPLE_ROOT);
	int r = core_records_load(img, &c, &err);
	if (r == 0) {
		walk(&c);
		walk_memory(img, &c);
		core_records_free(&c);
	} else if (!err.code || !err.message[0] || !err.object[0]) {
		abort();
	}
	image_close(img);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len && data[0] & 1)
		fuzz_records(data + 1, len - 1);
	else if (len)
		fuzz_manifest(data + 1, len - 1);
	return 0;
}

/* ---- seeds: the sample image ---- */

static void put_section(uint8_t *out, size_t *at, uint8_t number, void *records, unsigned n)
{
	ProtobufCMessage **m = records;
	size_t start = *at;

	*at += 3;
	for (unsigned i = 0; i < n; i++) {
		size_t len = protobuf_c_message_get_packed_size(m[i]);
		size_t v = len;
		for (; v >= 0x80; v >>= 7)
			out[(*at)++] = (uint8_t)(v | 0x80);
		out[(*at)++] = (uint8_t)v;
		protobuf_c_message_pack(m[i], out + *at);
		*at += len;
	}
	out[start] = number;
	out[start + 1] = (uint8_t)(*at - start - 3);
	out[start + 2] = (uint8_t)((*at - start - 3) >> 8);
}

static size_t seed_manifest(uint8_t *out)
{
	uint64_t blocks[2] = { 1, 2 };
	struct packed_block index[2] = { { 0, 500, PACK_LZ4 }, { 500, 300, PACK_PLAIN } };
	Crcore__File a = CRCORE__FILE__INIT, b = CRCORE__FILE__INIT, c = CRCORE__FILE__INIT,
		     d = CRCORE__FILE__INIT;
	Crcore__File *files[] = { &a, &b, &c, &d };
	Crcore__Manifest m;

	sample_manifest(&m);
	m.format = IMAGE_FORMAT;
	a.name = (char *)"core.task.img";
	a.length = 12345;
	b.name = (char *)"pages-1.bin";
	b.length = IMAGE_BLOCK + 1;
	b.blocks = (ProtobufCBinaryData){ sizeof(blocks), (uint8_t *)blocks };
	b.xxh3 = bulk_checksum(blocks, 2);
	c.name = (char *)"sample.thing.img";
	c.length = 3;
	c.contents = (ProtobufCBinaryData){ 3, (uint8_t *)"\2hi" };
	c.xxh3 = XXH3_64bits("\2hi", 3);
	d = b;
	d.name = (char *)"pages-2.bin";
	d.length = 800;
	d.unpacked = IMAGE_BLOCK + 300;
	d.index = (ProtobufCBinaryData){ sizeof(index), (uint8_t *)index };
	m.files = files;
	m.n_files = 4;
	out[0] = 0;
	return 1 + crcore__manifest__pack(&m, out + 1);
}

/* What is in the first run of the first mm is kept: the parent has it. */
static void keep_one(Crcore__Mm *m)
{
	m->kept = malloc(sizeof(*m->kept));
	m->kept[0] = m->runs[0];
	m->kept[0]->source = CRCORE__SOURCE__PARENT;
	m->kept[0]->mm = m->id;
	m->n_kept = 1;
	memmove(m->runs, m->runs + 1, --m->n_runs * sizeof(*m->runs));
}

/* ancestors: how many the image has. */
static size_t seed_records(uint8_t *out, unsigned ancestors)
{
	struct core_records c;
	size_t at = 1;

	sample_records(&c);
	out[0] = 1;
	for (unsigned i = ancestors; i > 0; i--) {
		put_section(out, &at, (uint8_t)(1 + i * NSECTIONS), c.mms, c.nmms);
		if (i == ancestors)
			keep_one(c.mms[0]);
	}
	put_section(out, &at, 0, c.tasks, c.ntasks);
	put_section(out, &at, 1, c.mms, c.nmms);
	put_section(out, &at, 2, c.files, c.nfiles);
	put_section(out, &at, 3, c.fs, c.nfs);
	put_section(out, &at, 4, c.sighands, c.nsighands);
	put_section(out, &at, 5, c.objects, c.nobjects);
	put_section(out, &at, 6, c.segments, c.nsegments);
	core_records_free(&c);
	return at;
}

_Bool fuzz_seed(unsigned i, uint8_t **ret, size_t *ret_len)
{
	if (i > IMAGES)
		return false;
	*ret = calloc(1, 1u << 16);
	*ret_len = i ? seed_records(*ret, i - 1) : seed_manifest(*ret);
	return true;
}
