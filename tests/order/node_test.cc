// OrderPolicy::strict is Node.js's order for ticks, microtasks and immediates: each row is a program for both, and what
// both must say. Where node is installed it is asked.
#include <array>
#include <cstdio>

#include "tests/order/scripted.h"
#include "tests/unit/loop_rig.h"

namespace weir::test {
namespace {

struct Program {
  const char* name;
  const char* javascript;  // `say(text)` is a function that notes it; no single quotes
  void (*weir)(Loop& loop, std::function<std::function<void()>(std::string)> say);
  const char* expected;
};

const Program kPrograms[] = {
    {"TicksThenMicrotasksOfTheMainScript",
     R"(process.nextTick(() => {
          say("tick")();
          process.nextTick(say("tick-of-tick"));
          queueMicrotask(say("micro-of-tick"));
        });
        queueMicrotask(() => {
          say("micro")();
          process.nextTick(say("tick-of-micro"));
          queueMicrotask(say("micro-of-micro"));
        });
        say("main")();)",
     [](Loop& loop, auto say) {
       loop.immediate([&loop, say] {
         loop.tick([&loop, say] {
           say("tick")();
           loop.tick(say("tick-of-tick"));
           loop.microtask(say("micro-of-tick"));
         });
         loop.microtask([&loop, say] {
           say("micro")();
           loop.tick(say("tick-of-micro"));
           loop.microtask(say("micro-of-micro"));
         });
         say("main")();
       });
     },
     "main tick tick-of-tick micro micro-of-tick micro-of-micro tick-of-micro"},
    {"BetweenTwoImmediates",
     R"(setImmediate(() => { say("first")(); process.nextTick(say("tick")); queueMicrotask(say("micro")); });
        setImmediate(say("second"));)",
     [](Loop& loop, auto say) {
       loop.immediate([&loop, say] {
         say("first")();
         loop.tick(say("tick"));
         loop.microtask(say("micro"));
       });
       loop.immediate(say("second"));
     },
     "first tick micro second"},
    {"BetweenTwoTimers",
     R"(setTimeout(() => { say("first")(); process.nextTick(say("tick")); queueMicrotask(say("micro")); }, 1);
        setTimeout(say("second"), 1);)",
     [](Loop& loop, auto say) {
       static std::array<std::unique_ptr<Timer>, 2> timers;
       for (auto& timer : timers) timer = std::make_unique<Timer>(loop);
       timers[0]->arm(1ms, [&loop, say] {
         say("first")();
         loop.tick(say("tick"));
         loop.microtask(say("micro"));
       });
       timers[1]->arm(1ms, say("second"));
     },
     "first tick micro second"},
    {"AnImmediateOfAnImmediateWaitsARound",
     R"(setImmediate(() => { say("first")(); setImmediate(say("third")); });
        setImmediate(say("second"));)",
     [](Loop& loop, auto say) {
       loop.immediate([&loop, say] {
         say("first")();
         loop.immediate(say("third"));
       });
       loop.immediate(say("second"));
     },
     "first second third"},
    {"InAnInputCallbackTheImmediateComesBeforeTheTimer",
     R"(require("fs").stat(".", () => { setTimeout(say("timer"), 0); setImmediate(say("immediate")); });)",
     [](Loop& loop, auto say) {
       static std::unique_ptr<Timer> timer;
       timer = std::make_unique<Timer>(loop);
       static_cast<void>(loop.post([&loop, say] {
         timer->arm(0ns, say("timer"));
         loop.immediate(say("immediate"));
       }));
     },
     "immediate timer"},
    {"ManyTicksOfTicksRunBeforeAnythingElse",
     R"(let left = 5000;
        const again = () => { if (--left > 0) process.nextTick(again); else say("ticks")(); };
        setImmediate(say("immediate"));
        queueMicrotask(say("micro"));
        process.nextTick(again);)",
     [](Loop& loop, auto say) {
       static std::function<void(int)> again;
       again = [&loop, say](int left) {
         if (left > 0) {
           loop.tick([left] { again(left - 1); });
         } else {
           say("ticks")();
         }
       };
       loop.immediate(say("immediate"));
       loop.microtask(say("micro"));
       loop.tick([] { again(4999); });
     },
     "ticks micro immediate"},
};

/// What node says to it; empty without node.
std::string ask_node(const Program& program) {
  const std::string script =
      "const log = []; const say = (text) => () => log.push(text);"
      "process.on(\"exit\", () => console.log(log.join(\" \")));" +
      std::string(program.javascript);
  std::string text;
  FILE* const node = ::popen(("node -e '" + script + "' 2>/dev/null").c_str(), "r");
  for (char line[256]; node != nullptr && std::fgets(line, sizeof line, node) != nullptr;)
    text += line;
  if (node != nullptr) ::pclose(node);
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

class NodeOrder : public ScriptedTest, public ::testing::WithParamInterface<Program> {};

TEST_P(NodeOrder, IsThatOfStrictLoops) {
  make_loop({}, OrderPolicy::strict);
  GetParam().weir(loop(), [this](std::string what) -> std::function<void()> {
    return noting(std::move(what));
  });
  loop().run();
  EXPECT_EQ(log(), GetParam().expected);
  EXPECT_EQ(loop().metrics().demoted_jobs, 0u);
}

TEST_P(NodeOrder, IsWhatNodeSays) {
  const std::string said = ask_node(GetParam());
  if (said.empty()) GTEST_SKIP() << "node is not installed";
  EXPECT_EQ(said, GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(Programs, NodeOrder, ::testing::ValuesIn(kPrograms),
                         [](const auto& program) { return std::string(program.param.name); });

}  // namespace
}  // namespace weir::test
