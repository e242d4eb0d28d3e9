// What handles stand for.
#pragma once

#include <atomic>
#include <memory>

#include "api/guard.hpp"
#include "api/handles.hpp"
#include "runtime/model.hpp"
#include "runtime/session.hpp"

namespace samedge {

// A session that serves one call at a time.
struct SharedSession {
  explicit SharedSession(std::shared_ptr<Model> model) : session(std::move(model)) {}

  std::atomic_flag busy = ATOMIC_FLAG_INIT;
  Session session;
};

// One call's use of a session. Throws Failure(BUSY) if another thread has it.
class Use {
 public:
  explicit Use(std::shared_ptr<SharedSession> shared) : shared_(std::move(shared)) {
    if (shared_->busy.test_and_set(std::memory_order_acquire))
      fail(SAMEDGE_ERROR_BUSY, "another thread is using this session; make a session for each thread (they "
           "share the model's weights), or serialise the calls");
  }
  ~Use() { shared_->busy.clear(std::memory_order_release); }
  Use(const Use &) = delete;
  Use &operator=(const Use &) = delete;

  Session *operator->() const noexcept { return &shared_->session; }
  Session &operator*() const noexcept { return shared_->session; }

 private:
  std::shared_ptr<SharedSession> shared_;
};

Handles<Model> &models();
Handles<SharedSession> &sessions();

// A call that computes: if it fails for whatever reason, the session has no answer any more.
template <typename Work>
void computing(const void *handle, Work &&work) {
  const Use session(sessions().get(handle));
  try {
    work(*session);
  } catch (...) {
    session->forget();
    throw;
  }
}

}  // namespace samedge
