// "broken:<defect>:<inner>": backends that break one sentence of the contract each, on purpose. They show that the rows
// of that sentence can fail.
#pragma once
#include <ostream>
#include <span>
#include <string_view>
#include <vector>

namespace weir::test {

struct Defect {
  std::string_view name;
  int sentence;                        ///< as in Row
  std::vector<std::string_view> rows;  ///< each of these must fail on it
};

inline std::ostream& operator<<(std::ostream& out, const Defect& defect) {
  return out << defect.name;
}

std::span<const Defect> defects();

/// Makes the name "broken" known to make_backend(). The defect "none" is a decorator that changes nothing.
void register_broken();

}  // namespace weir::test
