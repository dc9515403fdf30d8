// Slabs of records against a map: addresses stay, generations outlive records, the freed last is reused first.
#include "src/loop/record_slab.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace weir {
namespace {

struct Record {
  explicit Record(int number_at) : number(number_at), owned(std::make_unique<int>(number_at)) {}
  int number;
  std::unique_ptr<int> owned;  // a leak or a second destruction is found by the sanitizer
};

TEST(RecordSlabTest, AgreesWithAMap) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    RecordSlab<Record> slab;
    std::map<int, Record*> live;
    struct Past {
      const Record* record;
      std::uint32_t slot, generation;
    };
    std::vector<Past> gone;
    std::uint32_t most = 0;
    for (int number = 0; number < 5000; ++number) {
      if (live.empty() || random() % 5 < 3) {
        Record& record = slab.make(number);
        EXPECT_EQ(slab.find(slab.slot_of(record), slab.generation_of(record)), &record);
        live[number] = &record;
      } else {
        const auto chosen =
            std::next(live.begin(), static_cast<std::ptrdiff_t>(random() % live.size()));
        Record& record = *chosen->second;
        gone.push_back({&record, slab.slot_of(record), slab.generation_of(record)});
        slab.destroy(record);
        live.erase(chosen);
      }
      most = std::max(most, slab.size());
      ASSERT_EQ(slab.size(), live.size());
    }
    for (const auto& [number, record] : live) EXPECT_EQ(*record->owned, number);
    for (const Past& past : gone) {
      EXPECT_EQ(slab.find(past.slot, past.generation), nullptr);
      EXPECT_GT(slab.generation_of(*past.record), past.generation);  // also when it is free
    }
    std::set<int> seen;
    slab.for_each([&](Record& record) { EXPECT_TRUE(seen.insert(record.number).second); });
    EXPECT_EQ(seen.size(), live.size());
    EXPECT_LT(slab.capacity(), most + 1024);  // the free are reused before the slab grows
  }
}

TEST(RecordSlabTest, TheFreedLastIsReusedFirst) {
  RecordSlab<Record> slab;
  Record* first = &slab.make(1);
  Record* second = &slab.make(2);
  slab.destroy(*first);
  slab.destroy(*second);
  EXPECT_EQ(&slab.make(3), second);
  EXPECT_EQ(&slab.make(4), first);
}

TEST(RecordSlabTest, AReportMayDestroyWhatItVisits) {
  RecordSlab<Record> slab;
  for (int i = 0; i < 1000; ++i) slab.make(i);
  slab.for_each([&](Record& record) {
    if (record.number % 2 == 0) slab.destroy(record);
  });
  EXPECT_EQ(slab.size(), 500u);
}

TEST(RecordSlabTest, AnUnknownSlotIsNobody) {
  RecordSlab<Record> slab;
  EXPECT_EQ(slab.find(0, 1), nullptr);
  const Record& record = slab.make(1);
  EXPECT_EQ(slab.find(slab.slot_of(record) + 1, 0), nullptr);  // free, never used
  EXPECT_EQ(slab.find(1'000'000, 1), nullptr);
}

TEST(RecordSlabTest, KeepsTheAlignmentOfARecord) {
  struct alignas(64) Line {
    char bytes[64] = {};
  };
  RecordSlab<Line> slab;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&slab.make()) % 64, 0u);
  }
}

#if defined(__cpp_exceptions)
TEST(RecordSlabTest, AConstructorThatThrowsTakesNothing) {
  struct Thrower {
    explicit Thrower(bool throws) {
      if (throws) throw std::runtime_error("on purpose");
    }
  };
  RecordSlab<Thrower> slab;
  EXPECT_THROW(slab.make(true), std::runtime_error);
  EXPECT_EQ(slab.size(), 0u);
  EXPECT_EQ(slab.slot_of(slab.make(false)), 0u);
}
#endif

TEST(RecordSlabDeathTest, ARecordCannotBeDestroyedTwice) {
  RecordSlab<Record> slab;
  Record& record = slab.make(1);
  slab.destroy(record);
  EXPECT_DEATH(slab.destroy(record), "generation");
}

}  // namespace
}  // namespace weir
