// Threads: sessions side by side agree with one alone, one session serves one call at a time, and handles may be
// made and freed while others compute. Run under ThreadSanitizer with the stand-in backend.
//
//   threads_test BUNDLE
#include <array>
#include <atomic>
#include <thread>

#include "calls.hpp"

namespace {

constexpr int kThreads = 4;
constexpr int kWidth = 61, kHeight = 47;

samedge_model *opened(const char *path) {
  samedge_model_options options{};
  options.struct_size = sizeof options;
  options.threads = 1;
  samedge_model *model = nullptr;
  CHECK_OK(samedge_model_open(path, &options, &model));
  return model;
}

void answer(samedge_session *session, unsigned seed, Answered &answered) {
  Picture picture(kWidth, kHeight, seed);
  Click click(10.0 + seed % 40, 20.0);
  CHECK_OK(samedge_segment(session, &picture.frame, &click.prompts, &answered.result));
}

template <typename Work>
void side_by_side(const Work &work) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back([&work, i] { work(i); });
  for (std::thread &thread : threads) thread.join();
}

// Every session has the answers of one that is alone.
void sessions_agree(samedge_model *model, int rounds) {
  samedge_session *alone = nullptr;
  CHECK_OK(samedge_session_create(model, &alone));
  std::vector<std::vector<std::uint8_t>> masks;
  std::vector<float> scores;
  for (int i = 0; i < rounds; ++i) {
    Answered expected(kWidth, kHeight);
    answer(alone, static_cast<unsigned>(i), expected);
    masks.push_back(expected.mask);
    scores.push_back(expected.score);
  }
  CHECK_OK(samedge_session_destroy(alone));
  side_by_side([&](int thread) {
    samedge_session *session = nullptr;
    CHECK_OK(samedge_session_create(model, &session));
    for (int i = 0; i < rounds; ++i) {
      const auto at = static_cast<std::size_t>((i + thread * 3) % rounds);
      Answered got(kWidth, kHeight);
      answer(session, static_cast<unsigned>(at), got);
      CHECK(got.mask == masks[at]);
      CHECK(got.score == scores[at]);
    }
    CHECK_OK(samedge_session_destroy(session));
  });
}

// All threads at one session: each call is right or BUSY, and a BUSY one wrote nothing.
void one_session(samedge_model *model, int rounds) {
  samedge_session *session = nullptr;
  CHECK_OK(samedge_session_create(model, &session));
  Answered expected(kWidth, kHeight);
  answer(session, 1, expected);
  std::atomic<int> served{0};
  side_by_side([&](int) {
    Picture picture(kWidth, kHeight, 1);
    Click click(11.0, 20.0);
    for (int i = 0; i < rounds; ++i) {
      Answered got(kWidth, kHeight);
      const std::vector<std::uint8_t> before = got.mask;
      const samedge_status status = samedge_segment(session, &picture.frame, &click.prompts, &got.result);
      if (status == SAMEDGE_OK) {
        CHECK(got.mask == expected.mask);
        ++served;
      } else {
        CHECK(status == SAMEDGE_ERROR_BUSY);
        CHECK(std::strstr(samedge_last_error(), "thread") != nullptr);
        CHECK(got.mask == before);
      }
      samedge_contours contours{};
      contours.struct_size = sizeof contours;
      const samedge_status outlined = samedge_get_contours(session, 0, &contours);
      CHECK(outlined == SAMEDGE_OK || outlined == SAMEDGE_ERROR_BUSY);
    }
  });
  CHECK(served > 0);
  CHECK_OK(samedge_session_destroy(session));
}

// One destroys what the others use: each call is right, BUSY, or told that the handle is dead.
void destroyed_in_use(samedge_model *model, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    samedge_session *session = nullptr;
    CHECK_OK(samedge_session_create(model, &session));
    side_by_side([&](int thread) {
      Picture picture(kWidth, kHeight, 1);
      Click click(11.0, 20.0);
      for (int i = 0; i < 4; ++i) {
        Answered got(kWidth, kHeight);
        samedge_status status = SAMEDGE_OK;
        if (thread == 0 && i > 0) status = samedge_session_destroy(session);
        else status = samedge_segment(session, &picture.frame, &click.prompts, &got.result);
        CHECK(status == SAMEDGE_OK || status == SAMEDGE_ERROR_BUSY || status == SAMEDGE_ERROR_HANDLE);
      }
    });
    const samedge_status last = samedge_session_destroy(session);
    CHECK(last == SAMEDGE_OK || last == SAMEDGE_ERROR_HANDLE);
  }
}

// Sessions outlive the model's handle, whichever thread lets it go.
void model_closed(const char *path, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    samedge_model *model = opened(path);
    std::atomic<int> closed{0};
    side_by_side([&](int) {
      samedge_session *session = nullptr;
      const samedge_status status = samedge_session_create(model, &session);
      const samedge_status closing = samedge_model_close(model);
      CHECK(closing == SAMEDGE_OK || closing == SAMEDGE_ERROR_HANDLE);
      if (closing == SAMEDGE_OK) ++closed;
      if (status == SAMEDGE_OK) {
        Answered got(kWidth, kHeight);
        answer(session, 1, got);
        CHECK_OK(samedge_session_destroy(session));
      } else {
        CHECK(status == SAMEDGE_ERROR_HANDLE && session == nullptr);
      }
    });
    CHECK(closed == 1);
  }
}

std::atomic<int> logged{0};

void count(int32_t level, const char *message, void *user) {
  CHECK(level >= SAMEDGE_LOG_DEBUG && level <= SAMEDGE_LOG_ERROR);
  CHECK(message[0] != '\0' && std::strchr(message, '\n') == nullptr);
  CHECK(user == &logged);
  ++logged;
}

// What one thread is told is its own; the log comes from all of them.
void messages(const char *path) {
  CHECK_OK(samedge_set_log_callback(count, &logged));
  side_by_side([&](int thread) {
    if (thread % 2 == 0) {
      CHECK(samedge_last_error()[0] == '\0');
      CHECK_OK(samedge_model_close(opened(path)));
      CHECK(samedge_last_error()[0] == '\0');
    } else {
      for (int i = 0; i < 20; ++i) {
        samedge_model *model = nullptr;
        const char *wrong = thread == 1 ? "/nowhere/first" : "/nowhere/second";
        CHECK(samedge_model_open(wrong, nullptr, &model) == SAMEDGE_ERROR_BUNDLE);
        CHECK(std::strstr(samedge_last_error(), thread == 1 ? "first" : "second") != nullptr);
      }
    }
  });
  CHECK_OK(samedge_set_log_callback(nullptr, nullptr));
}

}  // namespace

int main(int count_of_arguments, char **arguments) {
  CHECK(count_of_arguments == 2);
  const char *path = arguments[1];
  samedge_model *model = opened(path);
  sessions_agree(model, 12);
  one_session(model, 30);
  destroyed_in_use(model, 12);
  CHECK_OK(samedge_model_close(model));
  model_closed(path, 4);
  messages(path);
  return 0;
}
