// A FIFO of pending ops, linked through Op::next: it needs no memory and so never refuses.
#pragma once
#include "weir/op.h"

namespace weir::inline v0::uring {

class OpList {
 public:
  bool empty() const { return head_ == nullptr; }
  Op* front() const { return head_; }
  void push(Op& op) {
    op.next = nullptr;
    (head_ == nullptr ? head_ : tail_->next) = &op;
    tail_ = &op;
  }
  void push_front(Op& op) {
    op.next = head_;
    if (head_ == nullptr) tail_ = &op;
    head_ = &op;
  }
  Op& pop() {
    Op& op = *head_;
    head_ = op.next;
    op.next = nullptr;
    return op;
  }
  /// Takes out, in order, every op for which `is_out` holds, and hands it to `each`.
  template <typename IsOut, typename Each>
  void sweep(IsOut&& is_out, Each&& each) {
    OpList kept;
    while (!empty()) {
      Op& op = pop();
      if (is_out(op)) {
        each(op);
      } else {
        kept.push(op);
      }
    }
    *this = kept;
  }

 private:
  Op* head_ = nullptr;
  Op* tail_ = nullptr;
};

}  // namespace weir::inline v0::uring
