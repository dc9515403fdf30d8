// Random programs on a loop, and what the model says of them: both policies, small budgets, endless jobs, exceptions
// anywhere. A program that fails is run again with WEIR_SEED=<its seed> in the environment, alone.
#include "tests/order/programs/model.h"

#include <cstdlib>
#include <random>

#include "tests/order/programs/machine.h"
#include "tests/order/scripted.h"
#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

constexpr int kInputCount = 12;

/// Input that the scripted backend finds at its next poll.
class ScriptedInputs final : public Inputs {
 public:
  ScriptedInputs(Loop& loop, Scripted& backend) : loop_(loop), backend_(backend) {
    for (int i = 0; i < kInputCount; ++i)
      ops_.push_back(std::make_unique<SeenOp<Op>>(loop, OpKind::poll, nullptr));
  }
  bool has_free() const override { return used_ < ops_.size(); }
  void await(std::function<void()> on_input) override {
    SeenOp<Op>& op = *ops_[used_++];
    op.seen = [on_input = std::move(on_input)](const Completion&) { on_input(); };
    loop_.submit(op);
    backend_.end(op, 1);
  }
  Task<> read() override { co_await Arrival(*this); }
  void reset() override { used_ = 0; }

 private:
  struct Arrival : Waiter {
    explicit Arrival(ScriptedInputs& from) : inputs(&from) {}
    bool await_ready() const noexcept { return false; }
    template <typename Promise>
    void await_suspend(std::coroutine_handle<Promise> handle) {
      wait_in(handle.promise());
      inputs->await([this] { wake(); });
    }
    void await_resume() const noexcept {}
    ScriptedInputs* inputs;
  };
  Loop& loop_;
  Scripted& backend_;
  std::vector<std::unique_ptr<SeenOp<Op>>> ops_;
  std::size_t used_ = 0;
};

/// Budgets so small that programs hit them.
Limits small_limits(std::uint64_t seed) {
  std::mt19937 dice(static_cast<std::uint32_t>(seed));
  const auto below = [&dice](std::uint32_t count) {
    return static_cast<std::uint32_t>(dice() % count);
  };
  Limits limits;
  limits.completions_per_turn = 1 + below(5);
  limits.timers_per_turn = 1 + below(4);
  limits.posts_per_turn = 1 + below(4);
  limits.descendants_per_drain = 1 + below(12);
  limits.demoted_per_turn = 1 + below(6);
  return limits;
}

std::uint64_t first_seed() {
  const char* given = std::getenv("WEIR_SEED");
  return given != nullptr ? std::stoull(given) : std::random_device()();
}
int program_count() { return std::getenv("WEIR_SEED") != nullptr ? 1 : 1000; }

class ModelTest : public ScriptedTest {
 protected:
  struct Counts {
    std::uint64_t demoted = 0;
    int with_demoted = 0;
    std::size_t parts = 0;
  };

  /// Runs one program on a new loop and on a new model.
  void compare(std::uint64_t seed, const Mix& mix, OrderPolicy order, Counts& counts) {
    const Program program = make_program(seed, mix);
    const Limits limits = small_limits(seed);
    Model model(limits, order, kInputCount);
    const std::string expected = model.run(program);
    make_loop(limits, order);
    ScriptedInputs inputs(loop(), backend());
    std::string trace;
    {
      Machine machine(loop(), inputs, false);
      backend().busy_poll_ns = Model::kBusyPollNs;
      backend().on_poll = [&] { machine.note_once("|"); };
      int turns = 0;
      trace = machine.run(program, [&] {
        loop().run(RunMode::once);
        return ++turns < 100'000;
      });
      backend().on_poll = nullptr;
      check_report(model, machine);
    }
    ASSERT_EQ(trace, expected) << "WEIR_SEED=" << seed << "\n" << program.text();
    ASSERT_EQ(loop().metrics().demoted_jobs, model.demoted_count()) << "WEIR_SEED=" << seed;
    counts.demoted += model.demoted_count();
    counts.with_demoted += model.demoted_count() > 0;
    counts.parts += program.nodes.size();
  }

  /// The report names the line that queued the job that was demoted last.
  void check_report(const Model& model, const Machine& machine) {
    const std::string report = loop().report();
    if (!model.last_demoted().has_value()) {
      EXPECT_THAT(report, ::testing::Not(::testing::HasSubstr("demoted")));
      return;
    }
    const Do what = *model.last_demoted();
    if (what == Do::task || what == Do::hop) return;  // weir's own line
    EXPECT_THAT(report, ::testing::HasSubstr("demoted: " + std::to_string(model.demoted_count())));
    EXPECT_THAT(report, ::testing::HasSubstr(std::string(Machine::file()) + ":" +
                                             std::to_string(machine.line_of(what)) + "\n"));
  }

  Counts compare_all(const Mix& mix, OrderPolicy order) {
    const std::uint64_t seed = first_seed();
    Counts counts;
    for (int i = 0; i < program_count() && !HasFatalFailure(); ++i)
      compare(seed + static_cast<std::uint64_t>(i), mix, order, counts);
    std::printf("seed %llu: %d programs of %zu callbacks; %llu jobs of %d programs were demoted\n",
                static_cast<unsigned long long>(seed), program_count(), counts.parts,
                static_cast<unsigned long long>(counts.demoted), counts.with_demoted);
    return counts;
  }

  static Mix mix(bool endless) {
    Mix mix{.weir_only = true, .endless = endless};
#if !defined(__cpp_exceptions)
    mix.throws = false;
#endif
    return mix;
  }
};

TEST_F(ModelTest, BoundedIsWhatTheSentencesSay) {
  const Counts counts = compare_all(mix(true), OrderPolicy::bounded);
  if (program_count() == 1) return;
  EXPECT_GT(counts.with_demoted, program_count() / 4);
}

TEST_F(ModelTest, StrictIsWhatTheSentencesSay) {
  EXPECT_EQ(compare_all(mix(false), OrderPolicy::strict).demoted, 0u);
}

}  // namespace
}  // namespace weir::test
