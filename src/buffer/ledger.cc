// Who holds what. Nothing here runs for blocks that are not followed.
#include "weir/ledger.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "src/os/clock.h"
#include "weir/pool.h"

namespace weir::inline v0 {

namespace {

constexpr std::uint32_t kNever = 0xffffffffu;  // At level off, takes until follow() says no.
constexpr std::size_t kSlotsMax = 0xffff;
constexpr std::size_t kFirstSlots = 128;  // when sampling, enough for 16,000 blocks held at once

std::uint32_t first_countdown(LedgerLevel level) {
  switch (level) {
    case LedgerLevel::off: return kNever;
    case LedgerLevel::sampled: return Ledger::kSampleEvery;
    case LedgerLevel::all: return 1;
  }
  return kNever;
}

// Finds a changed byte with near certainty and reads 8 bytes a step.
std::uint32_t hash_of(const std::byte* data, std::size_t size) {
  std::uint64_t hash = 0x9e3779b97f4a7c15u ^ size;
  while (size != 0) {
    std::uint64_t word = 0;
    const std::size_t count = std::min(size, sizeof(word));
    std::memcpy(&word, data, count);
    hash = (hash ^ word) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
    data += count;
    size -= count;
  }
  return static_cast<std::uint32_t>(hash);
}

std::string age_text(std::uint64_t age_ns) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3f s", static_cast<double>(age_ns) / 1e9);
  return text;
}

}  // namespace

Ledger::Ledger(LedgerLevel level, std::uint64_t (*now_ns)())
    : countdown_(first_countdown(level)),
      level_(level),
      now_ns_(now_ns != nullptr ? now_ns : os::now_ns) {
  if (level == LedgerLevel::off) return;
  entries_.reserve(kFirstSlots);
  free_slots_.reserve(kFirstSlots);
  entries_.emplace_back();
}

Ledger::~Ledger() = default;

void Ledger::follow(Block& block, SourceLocation where) {
  countdown_ = first_countdown(level_);
  if (level_ == LedgerLevel::off) return;
  std::uint16_t slot = 0;
  if (!free_slots_.empty()) {
    slot = free_slots_.back();
    free_slots_.pop_back();
  } else if (entries_.size() <= kSlotsMax) {
    slot = static_cast<std::uint16_t>(entries_.size());
    entries_.emplace_back();
    free_slots_.reserve(entries_.capacity());  // forget() allocates nothing.
  } else {
    return;  // As many are followed as can be.
  }
  ++tracked_count_;
  Entry& entry = entries_[slot];
  entry = {};
  entry.block = &block;
  block.ledger_slot = slot;
  moved(block, where);
}

void Ledger::moved(Block& block, SourceLocation where) {
  Entry& entry = entries_[block.ledger_slot];
  entry.state = block.state;
  entry.since_ns = now_ns_();
  if (block.state == BlockState::loaned && block.account != nullptr && connection_of_ != nullptr) {
    entry.connection = connection_of_(*block.account);
  }
  if (where.line() == 0) return;  // Nobody new.
  std::move_backward(entry.owners.begin(), entry.owners.end() - 1, entry.owners.end());
  entry.owners[0] = where;
}

void Ledger::forget(Block& block) {
  entries_[block.ledger_slot].block = nullptr;
  free_slots_.push_back(block.ledger_slot);
  block.ledger_slot = 0;
}

void Ledger::lent_for_send(Block& block) {
  if (level_ != LedgerLevel::all) return;
  entries_[block.ledger_slot].hash = hash_of(block.base, block.capacity);
}

void Ledger::returned_from_send(Block& block) {
  if (level_ != LedgerLevel::all) return;
  if (entries_[block.ledger_slot].hash == hash_of(block.base, block.capacity)) return;
  detail::misuse(block, "bytes were written while a send was reading them",
                 entries_[block.ledger_slot].owners[0]);
}

std::vector<Ledger::Entry> Ledger::entries() const {
  std::vector<Entry> held;
  std::copy_if(entries_.begin(), entries_.end(), std::back_inserter(held),
               [](const Entry& entry) { return entry.block != nullptr; });
  return held;
}

std::string Ledger::describe(const Block& block) const {
  return block.ledger_slot == 0 ? "" : line(entries_[block.ledger_slot], now_ns_());
}

std::string Ledger::line(const Entry& entry, std::uint64_t now_ns) const {
  const Block& block = *entry.block;
  std::string text(name_of(block.state));
  if (block.shared.load(std::memory_order_relaxed) != 0) text.append(" and shared");
  text.append(" for ").append(age_text(now_ns - entry.since_ns)).append(": ");
  text.append(std::to_string(block.capacity)).append(" B, block ");
  text.append(std::to_string(block.index)).append(" of \"").append(block.home->name()).append("\"");
  if (entry.connection != kNoConnection) {
    text.append(", connection ").append(std::to_string(entry.connection));
  }
  const char* separator = ", by ";
  for (const SourceLocation& owner : entry.owners) {
    if (owner.line() == 0) break;
    text.append(separator).append(owner.file_name()).append(":");
    text.append(std::to_string(owner.line()));
    separator = " <- ";
  }
  return text;
}

std::string Ledger::report() const {
  std::string text;
  const std::uint64_t now_ns = now_ns_();
  for (const Entry& entry : entries_) {
    if (entry.block != nullptr) text.append(line(entry, now_ns)).append("\n");
  }
  return text;
}

}  // namespace weir::inline v0
