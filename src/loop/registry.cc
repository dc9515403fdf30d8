// Backends by name: those of this build, from an explicit table so that a static link cannot lose them, and those
// that the program registered. `auto` takes the first of a committed order that starts, and keeps what it passed over.
#include <deque>
#include <mutex>

#include "backends/builtin.h"
#include "weir/backend.h"

namespace weir::inline v0 {
namespace {

// What `auto` tries, best first (docs/decisions/0006). A ring without multishot receives costs a lone connection more than
// epoll does, so it is only better than nothing.
struct Candidate {
  const char* name;
  bool needs_multishot_recv;
};
constexpr Candidate kAutoOrder[] = {{"io_uring", true}, {"epoll", false}, {"io_uring", false}};

struct Registry {
  std::mutex mutex;
  std::vector<BuiltinBackend> backends;
  std::deque<std::string> texts;
  const char* names = "";  // "auto, epoll, io_uring": what an error says was expected

  Registry() {
    for (const BuiltinBackend& backend : builtin_backends()) backends.push_back(backend);
    list_names();
  }

  void put(const char* name, BackendFactory factory) {
    for (BuiltinBackend& backend : backends) {
      if (std::string_view(backend.name) == name) {
        backend.make = factory;
        return;
      }
    }
    backends.push_back({name, factory});
    list_names();
  }

  BackendFactory find(std::string_view name) const {
    for (const BuiltinBackend& backend : backends) {
      if (name == backend.name) return backend.make;
    }
    return nullptr;
  }

  // Errors point at this text for ever, so each version of it stays.
  void list_names() {
    std::string& text = texts.emplace_back("auto");
    for (const BuiltinBackend& backend : backends) text.append(", ").append(backend.name);
    names = text.c_str();
  }
};

// Never destroyed: a loop may be made, and an error's text read, while the program ends.
Registry& registry() {
  static Registry& instance = *new Registry;
  return instance;
}

struct Found {
  BackendFactory make;
  const char* names;
};
Found find_backend(std::string_view name) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  return {all.find(name), all.names};
}

Result<ChosenBackend> choose(const BackendContext& context) {
  std::string passed_over;
  const auto pass_over = [&](const char* name, const std::string& why) {
    passed_over += (passed_over.empty() ? "" : "; ") + std::string(name) + ": " + why;
  };
  Error last =
      Error::of_value(Errc::unavailable, Operation::open, "auto", "a build with a backend");
  for (const auto& [name, needs_multishot_recv] : kAutoOrder) {
    const BackendFactory make = find_backend(name).make;
    if (make == nullptr) continue;
    Result<std::unique_ptr<Backend>> made = make({}, context);
    if (made.ok() && needs_multishot_recv && !(*made)->caps().multishot_recv) {
      pass_over(name, "no multishot receives here, which came with Linux 6.0");
    } else if (made.ok()) {
      std::string reason = std::string("auto took ") + name;
      if (!passed_over.empty()) reason += ", after " + passed_over;
      return ChosenBackend{std::move(made).value(), std::move(reason)};
    } else {
      last = made.error();
      pass_over(name, last.to_string());
    }
  }
  return last;
}

}  // namespace

void register_backend(const char* name, BackendFactory factory) {
  WEIR_CHECK(name != nullptr && factory != nullptr);
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  all.put(name, factory);
}

std::vector<std::string> backend_names() {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  std::vector<std::string> names;
  for (const BuiltinBackend& backend : all.backends) names.emplace_back(backend.name);
  return names;
}

Result<ChosenBackend> make_backend(std::string_view name, const BackendContext& context) {
  if (name == "auto") return choose(context);
  const std::size_t colon = name.find(':');
  const std::string_view variant = colon == name.npos ? std::string_view() : name.substr(colon + 1);
  const Found found = find_backend(name.substr(0, colon));
  if (found.make == nullptr)
    return Error::of_value(Errc::invalid_argument, Operation::open, name, found.names);
  Result<std::unique_ptr<Backend>> made = found.make(variant, context);
  if (!made.ok()) return made.error();
  return ChosenBackend{std::move(made).value(), "asked for by name"};
}

}  // namespace weir::inline v0
