// How a random program grows: each node gets a few steps, each step mostly a new node, until there are enough nodes.
#include "tests/order/programs/program.h"

#include <deque>
#include <iterator>
#include <utility>

namespace weir::test {

namespace {

// splitmix64: the same numbers everywhere, which the library's distributions do not promise.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed) {}
  int below(int count) { return static_cast<int>(next() % static_cast<std::uint64_t>(count)); }
  bool one_in(int count) { return below(count) == 0; }

 private:
  std::uint64_t next() {
    std::uint64_t value = state_ += 0x9e3779b97f4a7c15;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
    value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
    return value ^ (value >> 31);
  }
  std::uint64_t state_;
};

class Grower {
 public:
  Grower(std::uint64_t seed, const Mix& mix)
      : dice_(seed), mix_(mix), count_max_(3 + dice_.below(dice_.one_in(4) ? 80 : 30)) {}

  Program grow(std::uint64_t seed) {
    Program program;
    program.seed = seed;
    program.is_apart = dice_.one_in(2);
    add_node(false);
    for (; !open_.empty(); open_.pop_front()) {
      const auto [node, is_task] = open_.front();
      const int steps = node == 0 ? 2 + dice_.below(5) : dice_.below(5);
      for (int i = 0; i < steps; ++i) {
        const Step step = make_step(is_task);
        nodes_[static_cast<std::size_t>(node)].push_back(step);
        if (step.what == Do::fail) break;
      }
    }
    program.nodes = std::move(nodes_);
    return program;
  }

 private:
  int add_node(bool is_task) {
    nodes_.emplace_back();
    open_.emplace_back(static_cast<int>(nodes_.size()) - 1, is_task);
    return open_.back().first;
  }

  Step make_step(bool is_task) {
    if (is_task && dice_.one_in(2)) return make_wait();
    if (mix_.throws && dice_.one_in(14)) return {Do::fail};
    if (mix_.endless && dice_.one_in(25)) return {Do::endless, 0, dice_.below(2)};
    if (static_cast<int>(nodes_.size()) >= count_max_) return {Do::microtask, add_leaf()};
    static constexpr Do kPlain[] = {Do::tick,       Do::tick,  Do::microtask, Do::microtask,
                                    Do::promise,    Do::task,  Do::immediate, Do::immediate,
                                    Do::immediate,  Do::input, Do::input,     Do::ticks,
                                    Do::microtasks, Do::timer, Do::post};
    Do what = kPlain[dice_.below(std::size(kPlain))];
    if (what == Do::post && !mix_.weir_only) what = Do::immediate;
    if (what == Do::timer && !mix_.weir_only && !dice_.one_in(3))
      what = Do::input;  // they take 1 ms
    Step step{what, add_node(what == Do::task)};
    if (what == Do::promise) step.second = add_node(false);
    if (what == Do::timer) step.second = dice_.below(6);
    if (what == Do::ticks || what == Do::microtasks) {
      step.second = 1 + dice_.below(dice_.one_in(100) ? 3000 : 6);
    }
    return step;
  }

  Step make_wait() {
    const bool is_full = static_cast<int>(nodes_.size()) >= count_max_;
    switch (dice_.below(6)) {
      case 0: return {Do::pause};
      case 1: return {Do::read};
      case 2:
        return {dice_.one_in(mix_.weir_only ? 1 : 3) ? Do::sleep : Do::hop, 0, dice_.below(6)};
      case 3: return is_full ? Step{Do::hop} : Step{Do::call, add_node(true)};
      default: return {Do::hop};
    }
  }

  /// A node that is not to grow.
  int add_leaf() {
    nodes_.emplace_back();
    return static_cast<int>(nodes_.size()) - 1;
  }

  Dice dice_;
  Mix mix_;
  int count_max_;
  std::vector<std::vector<Step>> nodes_;
  std::deque<std::pair<int, bool>> open_;  // nodes that have no steps yet; is it a task?
};

}  // namespace

std::string Program::text() const {
  std::string text = is_apart ? "|" : "";
  for (const std::vector<Step>& node : nodes) {
    for (const Step& step : node) {
      text += static_cast<char>(step.what);
      text += std::to_string(step.first) + "," + std::to_string(step.second) + " ";
    }
    if (text.ends_with(' ')) text.pop_back();
    text += ';';
  }
  text.pop_back();
  return text;
}

Program make_program(std::uint64_t seed, const Mix& mix) { return Grower(seed, mix).grow(seed); }

}  // namespace weir::test
