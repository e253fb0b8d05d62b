// SPDX-License-Identifier: Apache-2.0
// A plugin in C++17: exceptions stay inside, state is an object, the struct is
// filled by a function because designated initializers came with C++20.
#include <crcore/plugin.h>

#include <cerrno>
#include <memory>
#include <new>
#include <string>

namespace {

class Plugin {
public:
	Plugin(const crcore_host *host, crcore_ctx *ctx) : host_(host), ctx_(ctx), text_("C++") {}
	~Plugin() { host_->log(ctx_, 3, "%s: close after %u hooks", text_.c_str(), hooks_); }
	int count() { return hooks_++, 0; }

private:
	const crcore_host *host_;
	crcore_ctx *ctx_;
	std::string text_;
	unsigned hooks_ = 0;
};

int open(const crcore_host *host, crcore_ctx *ctx, void **ret_state, crcore_error *err)
{
	try {
		*ret_state = new Plugin(host, ctx);
	} catch (const std::bad_alloc &) {
		return crcore_fail(err, -ENOMEM, "out of memory");
	}
	return 0;
}

void close(void *state)
{
	delete static_cast<Plugin *>(state);
}

int count(void *state, crcore_error *)
{
	return static_cast<Plugin *>(state)->count();
}

constexpr crcore_plugin fill()
{
	crcore_plugin p{};

	p.size = sizeof(p);
	p.abi_version = CRCORE_ABI_VERSION;
	p.name = "cplusplus";
	p.version = "1";
	p.summary = "is written in C++";
	p.open = open;
	p.close = close;
	p.observe = count;
	p.save = count;
	p.check = count;
	return p;
}

} // namespace

CRCORE_EXPORT const crcore_plugin crcore_plugin = fill();
