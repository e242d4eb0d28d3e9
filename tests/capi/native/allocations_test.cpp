// After the first frames our own code allocates nothing per call.
//
// malloc and its like are taken over here. An allocation is ours when the first function on the stack outside the
// standard library is one of this program, which holds the library's objects: what OpenVINO allocates inside its
// own library is not counted, what its headers do in our code is.
//
//   allocations_test BUNDLE
#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <string>

#include "calls.hpp"

extern "C" {
void *__libc_malloc(std::size_t);
void *__libc_calloc(std::size_t, std::size_t);
void *__libc_realloc(void *, std::size_t);
void *__libc_memalign(std::size_t, std::size_t);
extern char __executable_start, etext;
}

namespace {

struct Range {
  std::uintptr_t from, to;
};

std::array<Range, 16> standard;
std::size_t standards = 0;
thread_local bool counting = false;
long ours = 0, others = 0;
std::array<void *, 32> first_stack;
int first_depth = 0;

int remember(dl_phdr_info *info, std::size_t, void *) {
  const char *name = info->dlpi_name;
  if (std::strstr(name, "libstdc++") == nullptr && std::strstr(name, "libc.so") == nullptr &&
      std::strstr(name, "libgcc_s") == nullptr && std::strstr(name, "libm.so") == nullptr)
    return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto &part = info->dlpi_phdr[i];
    if (part.p_type != PT_LOAD || (part.p_flags & PF_X) == 0U || standards == standard.size()) continue;
    const std::uintptr_t from = info->dlpi_addr + part.p_vaddr;
    standard[standards++] = {from, from + part.p_memsz};
  }
  return 0;
}

bool in_standard(std::uintptr_t at) {
  for (std::size_t i = 0; i < standards; ++i)
    if (at >= standard[i].from && at < standard[i].to) return true;
  return false;
}

// `caller`: where the hook returns to.
void seen(const void *caller) {
  if (!counting) return;
  counting = false;  // backtrace may allocate
  std::array<void *, 32> stack{};
  const int depth = backtrace(stack.data(), static_cast<int>(stack.size()));
  int at = 0;
  while (at < depth && stack[static_cast<std::size_t>(at)] != caller) ++at;
  while (at < depth && in_standard(reinterpret_cast<std::uintptr_t>(stack[static_cast<std::size_t>(at)]))) ++at;
  if (at < depth) {
    const auto place = reinterpret_cast<std::uintptr_t>(stack[static_cast<std::size_t>(at)]);
    if (place >= reinterpret_cast<std::uintptr_t>(&__executable_start) &&
        place < reinterpret_cast<std::uintptr_t>(&etext)) {
      if (ours++ == 0) {
        first_stack = stack;
        first_depth = depth;
      }
    } else {
      ++others;
    }
  }
  counting = true;
}

}  // namespace

extern "C" {

[[gnu::visibility("default"), gnu::noinline]] void *malloc(std::size_t size) {
  seen(__builtin_return_address(0));
  return __libc_malloc(size);
}

[[gnu::visibility("default"), gnu::noinline]] void *calloc(std::size_t count, std::size_t size) {
  seen(__builtin_return_address(0));
  return __libc_calloc(count, size);
}

[[gnu::visibility("default"), gnu::noinline]] void *realloc(void *memory, std::size_t size) {
  seen(__builtin_return_address(0));
  return __libc_realloc(memory, size);
}

[[gnu::visibility("default"), gnu::noinline]] void *aligned_alloc(std::size_t alignment, std::size_t size) {
  seen(__builtin_return_address(0));
  return __libc_memalign(alignment, size);
}

[[gnu::visibility("default"), gnu::noinline]] int posix_memalign(void **memory, std::size_t alignment,
                                                                 std::size_t size) {
  seen(__builtin_return_address(0));
  *memory = __libc_memalign(alignment, size);
  return *memory == nullptr ? ENOMEM : 0;
}

}  // extern "C"

namespace {

int failures = 0;

// Each of `count` calls of `work(i)`, after `first` that do not count, allocates nothing of ours.
template <typename Work>
void steady(const char *what, int first, int count, const Work &work) {
  for (int i = 0; i < first; ++i) work(i);
  ours = others = 0;
  for (int i = first; i < first + count; ++i) {
    counting = true;
    work(i);
    counting = false;
  }
  std::printf("%s: %ld allocations of ours, %ld of others in %d calls\n", what, ours, others, count);
  if (ours == 0) return;
  ++failures;
  std::fflush(stdout);
  backtrace_symbols_fd(first_stack.data(), first_depth, 1);
}

// Everything that an answer of several objects may have.
struct Everything {
  static constexpr std::size_t kMost = 8;
  std::vector<std::uint8_t> masks, classes;
  std::vector<float> scores, logits;
  std::vector<std::int32_t> objects, structures, boxes;
  std::vector<std::int64_t> areas;
  samedge_result result{};

  Everything(int width, int height, int low_res)
      : masks(kMost * static_cast<std::size_t>(width) * static_cast<std::size_t>(height)),
        classes(static_cast<std::size_t>(width) * static_cast<std::size_t>(height)), scores(kMost),
        logits(kMost * static_cast<std::size_t>(low_res) * static_cast<std::size_t>(low_res)), objects(kMost),
        structures(kMost), boxes(4 * kMost), areas(kMost) {
    result.struct_size = sizeof result;
    const auto give = [](auto &values, auto *&pointer, std::size_t &capacity) {
      pointer = values.data();
      capacity = values.size();
    };
    give(masks, result.masks, result.masks_capacity);
    give(classes, result.class_map, result.class_map_capacity);
    give(scores, result.scores, result.scores_capacity);
    give(logits, result.low_res_logits, result.low_res_capacity);
    give(objects, result.object_index, result.object_index_capacity);
    give(structures, result.class_index, result.class_index_capacity);
    give(boxes, result.boxes, result.boxes_capacity);
    give(areas, result.areas, result.areas_capacity);
  }
};

}  // namespace

int main(int count, char **arguments) {
  CHECK(count == 2);
  void *warm[4];
  static_cast<void>(backtrace(warm, 4));  // loads libgcc now
  dl_iterate_phdr(remember, nullptr);
  CHECK(standards > 0);
  // The counter itself: our own allocations are seen, through the standard library as well.
  counting = true;
  std::string text(1000, 'x');
  void *volatile memory = std::malloc(10);
  counting = false;
  std::free(memory);
  CHECK(ours == 2 && text.size() == 1000);

  samedge_model_options options{};
  options.struct_size = sizeof options;
  options.threads = 1;
  samedge_model *model = nullptr;
  samedge_session *session = nullptr;
  CHECK_OK(samedge_model_open(arguments[1], &options, &model));
  CHECK_OK(samedge_session_create(model, &session));
  samedge_model_info info{};
  info.struct_size = sizeof info;
  CHECK_OK(samedge_model_get_info(model, &info));

  const int width = 160, height = 120;
  std::vector<Picture> pictures;
  for (unsigned seed = 0; seed < 4; ++seed) pictures.emplace_back(width, height, seed);
  const auto picture = [&](int i) { return &pictures[static_cast<std::size_t>(i) % pictures.size()].frame; };
  Everything room(width, height, info.low_res);
  Click click(70.0, 60.0);

  steady("segment", 3, 20, [&](int i) { CHECK_OK(samedge_segment(session, picture(i), &click.prompts, &room.result)); });
  steady("set_frame and predict", 3, 20, [&](int i) {
    CHECK_OK(samedge_set_frame(session, picture(i)));
    CHECK_OK(samedge_predict(session, &click.prompts, &room.result));
    CHECK_OK(samedge_predict(session, &click.prompts, &room.result));
  });

  // Objects of different numbers of points, which are groups of different lengths, in changing order.
  const double points[] = {20, 20, 30, 30, 40, 40, 50, 50, 60, 60, 70, 70, 80, 80};
  const std::int32_t shares[2][4] = {{1, 3, 1, 2}, {2, 1, 1, 3}};
  samedge_prompts several{};
  several.struct_size = sizeof several;
  several.objects = 4;
  several.points = points;
  several.point_count = 7;
  steady("several objects", 6, 20, [&](int i) {
    several.points_per_object = shares[i % 2];
    CHECK_OK(samedge_segment(session, picture(i), &several, &room.result));
  });

  // Frames of changing size, format, stride and crop.
  std::vector<Picture> others_sizes;
  for (int i = 0; i < 3; ++i) others_sizes.emplace_back(width - 20 * i, height - 10 * i, 9U);
  others_sizes[1].frame.format = SAMEDGE_RGB8;
  others_sizes[1].frame.width = 40;
  others_sizes[2].frame.crop[2] = 60;
  others_sizes[2].frame.crop[3] = 50;
  steady("changing sizes", 6, 20, [&](int i) {
    Click middle(20.0, 20.0);
    CHECK_OK(samedge_segment(session, &others_sizes[static_cast<std::size_t>(i) % 3].frame, &middle.prompts,
                             &room.result));
  });

  std::vector<std::int32_t> outline(2 * 100000), starts(10000);
  std::vector<std::uint8_t> holes(10000);
  samedge_contours contours{};
  contours.struct_size = sizeof contours;
  contours.points = outline.data();
  contours.points_capacity = outline.size();
  contours.starts = starts.data();
  contours.starts_capacity = starts.size();
  contours.holes = holes.data();
  contours.holes_capacity = holes.size();
  const char *notes = nullptr;
  samedge_timing timing{};
  timing.struct_size = sizeof timing;
  std::vector<float> embedding(static_cast<std::size_t>(info.embedding_size) * static_cast<std::size_t>(info.slices));
  steady("contours, notes, timing, embedding", 8, 20, [&](int i) {
    CHECK_OK(samedge_segment(session, picture(i), &click.prompts, &room.result));
    CHECK_OK(samedge_get_contours(session, 0, &contours));
    CHECK_OK(samedge_get_timing(session, &timing));
    CHECK_OK(samedge_get_notes(session, &notes));
    CHECK_OK(samedge_get_embedding(session, embedding.data(), embedding.size()));
  });

  samedge_tracker *tracker = nullptr;
  std::int32_t verdicts[2];
  Click two(60.0, 50.0);
  CHECK_OK(samedge_tracker_create(session, &two.prompts, nullptr, &tracker));
  // Longer than what the gate remembers.
  steady("track", 120, 40, [&](int i) {
    const char *reason = nullptr;
    CHECK_OK(samedge_track(tracker, picture(i), i / 30.0, &room.result, verdicts, 2));
    CHECK_OK(samedge_tracker_reason(tracker, 0, &reason));
  });
  CHECK_OK(samedge_tracker_destroy(tracker));
  CHECK_OK(samedge_session_destroy(session));
  CHECK_OK(samedge_model_close(model));
  return failures == 0 ? 0 : 1;
}
