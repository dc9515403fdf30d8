// Are OrderPolicy::strict and Node.js equal? Random programs run on the node that is installed and on weir, on each
// backend, and the orders in which their parts ran are compared.
//
//     build/release/tests/order/compare_with_node                            # 1,000 programs, a new seed
//     build/release/tests/order/compare_with_node --programs 10000           # a long run
//     build/release/tests/order/compare_with_node --seed S --programs 1 --show   # one again
//
// Exit code 77: there is no node to ask.
#include <sys/socket.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "tests/order/programs/sockets.h"

namespace weir::test {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::uint64_t seed = std::random_device()() % 1'000'000'000;
  std::uint64_t count = 1000;
  bool shows = false;
  std::string node = "node";
  std::string script = NODE_SCRIPT;
  std::vector<std::string> backends = {"epoll", "io_uring", "io_uring:6.1", "io_uring:5.10"};
  /// Its one-shot receives may bring a byte a turn after it was written: programs that are apart only.
  static bool is_late(const std::string& backend) { return backend == "io_uring:5.10"; }
};

[[noreturn]] void usage(const char* program) {
  std::fprintf(stderr,
               "usage: %s [--programs N] [--seed S] [--backend NAME] [--node PROGRAM] [--show]\n",
               program);
  std::exit(2);
}

Options read_options(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string_view name = arguments[i];
    if (name == "--show") {
      options.shows = true;
      continue;
    }
    if (++i == count) usage(arguments[0]);
    const std::string value = arguments[i];
    if (name == "--seed") {
      options.seed = std::stoull(value);
    } else if (name == "--programs") {
      options.count = std::stoull(value);
    } else if (name == "--backend") {
      options.backends = {value};
    } else if (name == "--node") {
      options.node = value;
    } else {
      usage(arguments[0]);
    }
  }
  return options;
}

std::string output_of(const std::string& command) {
  std::string text;
  FILE* const pipe = ::popen(command.c_str(), "r");
  for (char line[256]; pipe != nullptr && std::fgets(line, sizeof line, pipe) != nullptr;)
    text += line;
  if (pipe != nullptr) ::pclose(pipe);
  return text.substr(0, text.find('\n'));
}

/// A folder that goes with the program.
struct Folder {
  Folder() {
    std::string name = fs::temp_directory_path() / "weir-order-XXXXXX";
    WEIR_CHECK(::mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() { fs::remove_all(path); }
  fs::path path;
};

/// A line a program: the order in which node ran its parts. Empty when node failed, which says why itself.
std::vector<std::string> ask_node(const Options& options, const std::vector<Program>& programs) {
  const Folder folder;
  const fs::path in = folder.path / "programs", out = folder.path / "traces";
  std::ofstream file(in);
  for (const Program& program : programs) file << program.text() << '\n';
  file.close();
  std::string near, far;
  std::vector<int> descriptors;  // inherited, so not closed on exec
  for (std::size_t i = 0; i < SocketInputs::kCount; ++i) {
    int ends[2];
    WEIR_CHECK(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    descriptors.insert(descriptors.end(), {ends[0], ends[1]});
    near += " " + std::to_string(ends[0]);
    far += " " + std::to_string(ends[1]);
  }
  const std::string command = options.node + " " + options.script + " " + in.string() + " " +
                              out.string() + " " + std::to_string(SocketInputs::kCount) + near +
                              far;
  const int status = std::system(command.c_str());
  for (const int descriptor : descriptors) ::close(descriptor);
  std::vector<std::string> traces;
  std::ifstream answer(out);
  for (std::string line; status == 0 && std::getline(answer, line);) traces.push_back(line);
  return traces;
}

/// Have all programs the same order on `backend`? Those that do not are printed.
bool are_equal(const Options& options, const std::string& backend,
               const std::vector<Program>& programs, const std::vector<std::string>& expected) {
  constexpr std::uint64_t kShownMax = 3;
  constexpr Duration kPatience = std::chrono::seconds(30);
  auto loop = Loop::make({.backend = backend, .order = OrderPolicy::strict});
  if (!loop.ok()) {
    std::printf("%s: not here: %s\n", backend.c_str(), loop.error().to_string().c_str());
    return true;
  }
  SocketInputs inputs(**loop);
  Machine machine(**loop, inputs, true);
  bool is_late = false;
  Timer alarm(**loop);
  std::uint64_t equal = 0, different = 0;
  for (std::size_t i = 0; i < programs.size(); ++i) {
    if (!programs[i].is_apart && Options::is_late(backend)) continue;
    alarm.arm(kPatience, [&] { is_late = true; });
    const std::string trace = machine.run(programs[i], [&] {
      (*loop)->run(RunMode::no_wait);
      return !is_late;
    });
    const bool is_equal = trace == expected[i];
    ++(is_equal ? equal : different);
    if (options.shows || (!is_equal && different <= kShownMax)) {
      std::printf("%s, --seed %llu --programs 1: %s\n  program %s\n  node    %s\n  weir    %s\n",
                  backend.c_str(), static_cast<unsigned long long>(programs[i].seed),
                  is_equal ? "equal" : "DIFFERENT", programs[i].text().c_str(), expected[i].c_str(),
                  trace.c_str());
    }
    if (is_late) {
      std::printf("%s%s", (*loop)->report().c_str(), (*loop)->metrics().to_string().c_str());
      break;
    }
    (*loop)->run(RunMode::no_wait);  // what closes, closes
  }
  std::printf("%s: %llu of %llu programs equal\n", backend.c_str(),
              static_cast<unsigned long long>(equal),
              static_cast<unsigned long long>(equal + different));
  return different == 0;
}

int compare(const Options& options) {
  const std::string version = output_of(options.node + " --version 2>/dev/null");
  if (version.empty()) {
    std::printf("node is not installed: there is nobody to compare with\n");
    return 77;
  }
  std::printf("node %s, seed %llu, %llu programs\n", version.c_str(),
              static_cast<unsigned long long>(options.seed),
              static_cast<unsigned long long>(options.count));
  Mix mix;
#if !defined(__cpp_exceptions)
  mix.throws = false;
#endif
  std::vector<Program> programs;
  std::size_t parts = 0;
  for (std::uint64_t i = 0; i < options.count; ++i) {
    programs.push_back(make_program(options.seed + i, mix));
    parts += programs.back().nodes.size();
  }
  const std::vector<std::string> expected = ask_node(options, programs);
  if (expected.size() != programs.size()) {
    std::printf("node ran %zu of %zu programs\n", expected.size(), programs.size());
    return 1;
  }
  bool is_equal = true;
  for (const std::string& backend : options.backends) {
    is_equal &= are_equal(options, backend, programs, expected);
  }
  std::printf("%zu callbacks in the programs; %s\n", parts,
              is_equal ? "all orders equal" : "NOT equal");
  return is_equal ? 0 : 1;
}

}  // namespace
}  // namespace weir::test

int main(int count, char** arguments) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  return weir::test::compare(weir::test::read_options(count, arguments));
}
