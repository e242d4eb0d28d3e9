// Any order of calls with any contents of structs: a status and a message, and never more.
//
// What a caller has to get right is right: memory is as large as the struct that describes it says, to the byte,
// so that AddressSanitizer sees a read or write beyond it. A description that cannot be true (a side of -1, an
// unknown format, a stride shorter than a row) comes with one byte of memory: the library has to refuse it first.
//
// Checked after every call: the status is one of the header and not INTERNAL, a failure has a message in UTF-8,
// and a call that failed left every buffer of its result as it was and no answer behind.
//
//   SAMEDGE_FUZZ_BUNDLES=a.samedge:b.samedge fuzz_api CORPUS
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "samedge.h"

namespace {

#define REQUIRE(condition)                                                                         \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      std::fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, samedge_last_error()); \
      std::abort();                                                                                \
    }                                                                                              \
  } while (false)

constexpr std::int64_t kMostBytes = 1 << 20;

class Input {
 public:
  Input(const std::uint8_t *data, std::size_t size) : data_(data), size_(size) {}

  bool empty() const { return at_ >= size_; }
  unsigned byte() { return at_ < size_ ? data_[at_++] : 0U; }
  unsigned below(unsigned limit) { return byte() % limit; }
  // One in `n`.
  bool rarely(unsigned n) { return byte() % n == n - 1; }
  std::int64_t number() {
    std::int64_t value = 0;
    for (int i = 0; i < 8; ++i) value = static_cast<std::int64_t>((static_cast<std::uint64_t>(value) << 8U) | byte());
    return value;
  }
  double real() {
    switch (below(8)) {
      case 0: return std::numeric_limits<double>::quiet_NaN();
      case 1: return std::numeric_limits<double>::infinity();
      case 2: return -static_cast<double>(byte());
      case 3: {
        const std::int64_t bits = number();
        double value = 0.0;
        std::memcpy(&value, &bits, sizeof value);
        return value;
      }
      default: return static_cast<double>(byte()) / 4.0;
    }
  }
  // A number that is usually `usual`, sometimes odd.
  std::int32_t around(std::int32_t usual) {
    static const std::int32_t odd[] = {0, -1, 1, 2, 15, 16, 255, 1024, 1025, 4096, 4097, 16384,
                                       std::numeric_limits<std::int32_t>::max(),
                                       std::numeric_limits<std::int32_t>::min()};
    if (!rarely(12)) return usual;
    return rarely(3) ? static_cast<std::int32_t>(number()) : odd[below(sizeof odd / sizeof *odd)];
  }

 private:
  const std::uint8_t *data_;
  std::size_t size_, at_ = 0;
};

// Memory of so many bytes and not one more, filled with a pattern.
class Room {
 public:
  explicit Room(std::size_t size, std::uint8_t pattern = 0xA5) : size_(size), memory_(new std::uint8_t[size]) {
    std::memset(memory_.get(), pattern, size);
  }
  template <typename T>
  T *as() const { return reinterpret_cast<T *>(memory_.get()); }
  bool untouched() const {
    for (std::size_t i = 0; i < size_; ++i)
      if (memory_[i] != 0xA5) return false;
    return true;
  }

 private:
  std::size_t size_;
  std::unique_ptr<std::uint8_t[]> memory_;
};

// Everything that a call is given; it lives until the call is over.
class Given {
 public:
  explicit Given(Input &input) : input_(input) {}

  // Memory for `count` elements, which stays until the call is over.
  template <typename T>
  T *room(std::size_t count, std::uint8_t pattern = 0xA5) {
    rooms_.push_back(std::make_unique<Room>(count * sizeof(T), pattern));
    return rooms_.back()->template as<T>();
  }

  // The caller's copy of a struct: as large as its struct_size says.
  template <typename S>
  S *placed(S value) {
    if (input_.rarely(40)) return nullptr;
    std::uint32_t size = sizeof(S);
    bool newer = false;
    if (input_.rarely(16)) {
      switch (input_.below(6)) {
        case 0: size = 0; break;
        case 1: size = sizeof(S) - 1; break;
        case 2: size = sizeof(S) + 24; break;
        case 3: size = sizeof(S) + 24; newer = true; break;
        case 4: size = std::numeric_limits<std::uint32_t>::max(); break;
        default: size = input_.byte(); break;
      }
    }
    const std::size_t bytes = size > 65536 ? sizeof(S) : size < 4 ? 4 : size;
    auto *target = room<std::uint8_t>(bytes, 0);
    value.struct_size = size;
    std::memcpy(target, &value, bytes < sizeof(S) ? bytes : sizeof(S));
    if (newer) target[sizeof(S) + 7] = 1;
    return reinterpret_cast<S *>(target);
  }

  Input &input() { return input_; }

 private:
  Input &input_;
  std::vector<std::unique_ptr<Room>> rooms_;
};

int side(Input &input) { return input.around(16 + static_cast<int>(input.below(60))); }

// false: there is not as much memory as it would take.
bool make_frame(Given &given, samedge_frame &frame, int slices = 0) {
  Input &input = given.input();
  frame.format = input.around(1 + static_cast<int>(input.below(7)));
  frame.width = side(input);
  frame.height = side(input);
  frame.memory = input.rarely(40) ? static_cast<std::int32_t>(input.below(4)) : SAMEDGE_HOST;
  frame.slices = input.rarely(12) ? input.around(static_cast<int>(input.below(4))) : slices;
  const std::int64_t width = frame.width, height = frame.height;
  static const int sizes[] = {0, 1, 2, 3, 3, 4, 4, 1};
  const std::int64_t row = frame.format >= 1 && frame.format <= 7 ? width * sizes[frame.format] : 0;
  const auto stride = [&](std::int64_t least) {
    if (!input.rarely(6)) return std::int64_t{0};
    switch (input.below(5)) {
      case 0: return input.number();
      case 1: return least - 1;
      case 2: return least + input.below(9);
      case 3: return -least;
      default: return std::int64_t{0};
    }
  };
  frame.stride = stride(row);
  frame.chroma_stride = stride(row);
  const bool nv12 = frame.format == SAMEDGE_NV12;
  const auto refused = [&](std::int64_t step) { return step != 0 && step < row; };
  const std::int64_t step = frame.stride == 0 ? row : frame.stride;
  const std::int64_t chroma_step = frame.chroma_stride == 0 ? step : frame.chroma_stride;
  frame.slice_stride = stride(nv12 ? 0 : step > 0 && step < kMostBytes ? step * (height < 4097 && height > 0 ? height : 1) : 0);
  for (int &edge : frame.crop)
    edge = 0;
  if (input.rarely(5)) {
    frame.crop[2] = input.around(frame.width);
    frame.crop[3] = input.around(16 + static_cast<int>(input.below(40)));
    frame.crop[0] = input.around(static_cast<int>(input.below(20)));
  }
  const bool impossible = row == 0 || width < 16 || height < 16 || width > 4096 || height > 4096 ||
                          frame.memory != SAMEDGE_HOST || refused(frame.stride) ||
                          (nv12 && refused(frame.chroma_stride)) || frame.slices < 0 ||
                          (frame.slices > 1 && frame.slice_stride < 0) ||
                          step > (std::int64_t{1} << 31);
  if (impossible) {
    frame.pixels = input.rarely(8) ? nullptr : given.room<std::uint8_t>(1);
    frame.chroma = input.rarely(2) ? nullptr : given.room<std::uint8_t>(1);
    return true;
  }
  if (width * height > 70000 || step > kMostBytes / height || chroma_step > kMostBytes / height) return false;
  std::int64_t bytes = (height - 1) * step + row;
  if (nv12 && input.rarely(2)) {
    frame.chroma = given.room<std::uint8_t>(static_cast<std::size_t>((height / 2) * chroma_step + row));
  } else if (nv12) {
    bytes = height * step + (height / 2) * chroma_step + row;
  }
  const std::int64_t between = frame.slice_stride == 0 ? height * step * (nv12 ? 2 : 1) : frame.slice_stride;
  if (frame.slices > 1) {
    if (between > kMostBytes / frame.slices) return false;
    bytes += (frame.slices - 1) * between;
  }
  auto *pixels = given.room<std::uint8_t>(static_cast<std::size_t>(bytes));
  for (std::int64_t i = 0; i < bytes; i += 1 + static_cast<std::int64_t>(input.below(64)))
    pixels[i] = static_cast<std::uint8_t>(i * 31);
  frame.pixels = input.rarely(60) ? nullptr : pixels;
  return true;
}

// Objects that prompts name; room for what they describe.
int make_prompts(Given &given, samedge_prompts &prompts, const samedge_model_info &info) {
  Input &input = given.input();
  prompts.objects = input.around(static_cast<int>(input.below(4)));
  const bool many = prompts.objects < 0 || prompts.objects > 1024;
  const std::size_t objects = many ? 1 : prompts.objects == 0 ? 1 : static_cast<std::size_t>(prompts.objects);
  const auto coordinates = [&](std::size_t count) {
    auto *values = given.room<double>(count);
    for (std::size_t i = 0; i < count; ++i)
      values[i] = input.empty() || !input.rarely(24) ? 4.0 + static_cast<double>(i % 11) : input.real();
    return values;
  };
  const auto wants = [&](int bit) { return (info.takes & bit) != 0 ? !input.rarely(5) : input.rarely(24); };
  const bool clicks = wants(SAMEDGE_TAKES_POINTS);
  prompts.point_count = input.around(clicks ? static_cast<int>(objects) * static_cast<int>(1 + input.below(2)) : 0);
  const bool points = prompts.point_count >= 0 && prompts.point_count <= 4096;
  const std::size_t count = points ? static_cast<std::size_t>(prompts.point_count) : 0;
  if (clicks) prompts.points = coordinates(count * 2);
  if (input.rarely(5) && count > 0) {
    auto *labels = given.room<std::int32_t>(count);
    for (std::size_t i = 0; i < count; ++i) labels[i] = input.rarely(9) ? input.around(0) : 1;
    prompts.labels = labels;
  }
  if (input.rarely(4)) {
    auto *each = given.room<std::int32_t>(objects);
    std::int32_t left = static_cast<std::int32_t>(count);
    for (std::size_t i = 0; i < objects; ++i) {
      each[i] = i + 1 == objects ? left : static_cast<std::int32_t>(input.below(4)) < left ? 1 : 0;
      left -= each[i];
      if (input.rarely(30)) each[i] = input.around(1);
    }
    prompts.points_per_object = each;
  }
  if (wants(SAMEDGE_TAKES_BOXES) && input.rarely(2)) {
    auto *boxes = coordinates(objects * 4);
    for (std::size_t i = 0; i < objects; ++i) {
      boxes[4 * i + 2] += 9.0;
      boxes[4 * i + 3] += 7.0;
    }
    prompts.boxes = boxes;
  }
  prompts.mask_count = wants(SAMEDGE_TAKES_MASKS) && input.rarely(3) ? input.around(static_cast<int>(objects)) : 0;
  if (prompts.mask_count != 0 && !input.rarely(12)) {
    const bool wrong = prompts.mask_count < 0 || prompts.mask_count > 1024;
    const auto side = static_cast<std::size_t>(info.low_res);
    const std::size_t values = wrong ? 1 : static_cast<std::size_t>(prompts.mask_count) * side * side;
    auto *masks = given.room<float>(values, 0);
    if (input.rarely(4) && values > 0) masks[values - 1] = static_cast<float>(input.real());
    prompts.masks = masks;
  }
  prompts.multimask = info.multi_masks > 0 && input.rarely(2) ? 1 : input.rarely(24) ? input.around(1) : 0;
  return many ? 1 : static_cast<int>(objects);
}

// A result with some of its buffers; which of them, to see that they were not touched.
struct Asked {
  samedge_result result{};
  std::vector<std::unique_ptr<Room>> rooms;

  bool untouched() const {
    for (const auto &room : rooms)
      if (!room->untouched()) return false;
    return true;
  }
};

void make_result(Input &input, Asked &asked, const samedge_model_info &info, int objects, bool multimask, int width,
                 int height) {
  const bool usual = width >= 16 && height >= 16 && width <= 4096 && height <= 4096 && width * height <= 70000;
  const std::size_t columns = usual ? static_cast<std::size_t>(width) : 16;
  const std::size_t rows = usual ? static_cast<std::size_t>(height) : 16;
  const std::size_t each = static_cast<std::size_t>(multimask ? info.multi_masks : info.single_masks);
  const std::size_t count = static_cast<std::size_t>(objects) * each;
  const auto low = static_cast<std::size_t>(info.low_res);
  std::size_t stride = columns;
  if (input.rarely(4)) {
    stride = columns + input.below(5);
    asked.result.mask_stride = static_cast<std::int64_t>(stride);
    if (input.rarely(8)) asked.result.mask_stride = input.rarely(2) ? input.number() : -3;
    if (asked.result.mask_stride > 65536) stride = 65536;
  }
  const auto buffer = [&](auto *&pointer, std::size_t &capacity, std::size_t needed) {
    if (input.rarely(3)) return;
    const unsigned odd = input.byte() % 64;
    if (odd == 0 && needed > 0) needed -= 1;
    if (odd == 1) needed = 0;
    if (odd == 2) needed += 3;
    if (needed > 4U * kMostBytes) return;
    capacity = needed;
    asked.rooms.push_back(std::make_unique<Room>(needed * sizeof *pointer));
    pointer = asked.rooms.back()->as<std::remove_reference_t<decltype(*pointer)>>();
  };
  samedge_result &r = asked.result;
  r.mask_value = input.rarely(6) ? input.around(255) : 0;
  buffer(r.masks, r.masks_capacity, count == 0 ? 0 : (count * rows - 1) * stride + columns);
  buffer(r.class_map, r.class_map_capacity, rows * columns);
  buffer(r.scores, r.scores_capacity, count);
  buffer(r.object_index, r.object_index_capacity, count);
  buffer(r.class_index, r.class_index_capacity, count);
  buffer(r.boxes, r.boxes_capacity, 4 * count);
  buffer(r.areas, r.areas_capacity, count);
  buffer(r.low_res_logits, r.low_res_capacity, count * low * low);
}

bool utf8(const char *text) {
  for (const auto *at = reinterpret_cast<const unsigned char *>(text); *at != 0;) {
    const int more = *at < 0x80 ? 0 : *at >= 0xC2 && *at < 0xE0 ? 1 : (*at & 0xF0U) == 0xE0 ? 2 : (*at & 0xF8U) == 0xF0 ? 3 : -1;
    if (more < 0) return false;
    ++at;
    for (int i = 0; i < more; ++i, ++at)
      if ((*at & 0xC0U) != 0x80) return false;
  }
  return true;
}

// How many calls came to what, to see that a run reached something: SAMEDGE_FUZZ_COUNTS=1.
struct Counts {
  long of[16] = {}, masks = 0, tracked = 0, slices = 0;
  ~Counts() {
    if (std::getenv("SAMEDGE_FUZZ_COUNTS") == nullptr) return;
    for (int i = 0; i < 16; ++i) std::fprintf(stderr, "%s: %ld\n", samedge_status_string(-i), of[i]);
    std::fprintf(stderr, "answers: %ld, tracked: %ld, volumes: %ld\n", masks, tracked, slices);
  }
};
Counts counts;

samedge_status checked(samedge_status status) {
  REQUIRE(status <= SAMEDGE_OK && status > SAMEDGE_ERROR_INTERNAL);
  ++counts.of[-status];
  REQUIRE(std::strcmp(samedge_status_string(status), "unknown status") != 0);
  if (status != SAMEDGE_OK) REQUIRE(samedge_last_error()[0] != '\0' && utf8(samedge_last_error()));
  return status;
}

void no_answer(samedge_session *session) {
  samedge_contours contours{};
  contours.struct_size = sizeof contours;
  const samedge_status status = samedge_get_contours(session, 0, &contours);
  REQUIRE(status == SAMEDGE_ERROR_STATE || status == SAMEDGE_ERROR_HANDLE);
}

// Bundles that stay open from one input to the next.
struct Opened {
  std::string path;
  samedge_model *model = nullptr;
  samedge_model_info info{};
};

std::vector<Opened> &bundles() {
  static auto *all = new std::vector<Opened>([] {
    std::vector<Opened> found;
    const char *names = std::getenv("SAMEDGE_FUZZ_BUNDLES");
    REQUIRE(names != nullptr);
    std::string rest = names;
    for (std::size_t end = 0; end != std::string::npos;) {
      end = rest.find(':');
      Opened one;
      one.path = rest.substr(0, end);
      rest = end == std::string::npos ? "" : rest.substr(end + 1);
      one.info.struct_size = sizeof one.info;
      REQUIRE(checked(samedge_model_open(one.path.c_str(), nullptr, &one.model)) == SAMEDGE_OK);
      REQUIRE(samedge_model_get_info(one.model, &one.info) == SAMEDGE_OK);
      found.push_back(one);
    }
    return found;
  }());
  return *all;
}

// Handles, those that were freed among them.
class World {
 public:
  explicit World(Input &input) : input_(input), bundle_(bundles()[input.below(static_cast<unsigned>(bundles().size()))]) {
    REQUIRE(checked(samedge_session_create(bundle_.model, &sessions_[0])) == SAMEDGE_OK);
    sessions_[1] = sessions_[0];
  }

  ~World() {
    for (samedge_tracker *tracker : trackers_) samedge_tracker_destroy(tracker);
    for (samedge_session *session : sessions_) samedge_session_destroy(session);
    for (samedge_model *model : models_) samedge_model_close(model);
  }
  World(const World &) = delete;
  World &operator=(const World &) = delete;

  void step() {
    Given given(input_);
    unsigned kind = input_.below(20);
    if ((kind == 3 || kind == 19) && !input_.rarely(4)) kind = 9;  // most handles live for a while
    if (kind > 15 && trackers_[0] == nullptr && !input_.rarely(8)) kind = 15;
    switch (kind) {
      case 0: open(given); break;
      case 1: checked(samedge_model_close(input_.rarely(4) ? model() : nullptr)); break;
      case 2: create(); break;
      case 3: destroy(); break;
      case 4: questions(given); break;
      case 5: set_frame(given); break;
      case 6:
      case 7:
      case 8: predict(given); break;
      case 9:
      case 10:
      case 11: segment(given); break;
      case 12: slices(given); break;
      case 13: embedding(given); break;
      case 14: contours(given); break;
      case 15: create_tracker(given); break;
      case 16:
      case 17: track(given); break;
      case 18: ask_tracker(); break;
      default: checked(samedge_tracker_destroy(tracker())); break;
    }
  }

 private:
  template <typename T>
  T *handle(T *const (&known)[3]) {
    switch (input_.below(32)) {
      case 0: return nullptr;
      case 1: return reinterpret_cast<T *>(static_cast<std::intptr_t>(input_.number()));
      case 2: return reinterpret_cast<T *>(sessions_[0]);
      case 3: return reinterpret_cast<T *>(trackers_[0]);
      case 4: return reinterpret_cast<T *>(bundle_.model);
      case 5: return reinterpret_cast<T *>(reinterpret_cast<std::intptr_t>(known[0]) ^ (1LL << input_.below(63)));
      default: return known[input_.below(6) == 5 ? 1 : 0];
    }
  }
  // Never the bundle's own: it stays open.
  samedge_model *model() { return models_[input_.below(2)]; }
  samedge_session *session() { return handle(sessions_); }
  samedge_tracker *tracker() { return handle(trackers_); }

  // Forget a freed handle now and then, or no session would be left.
  template <typename T>
  T *&place(T *(&known)[3]) { return known[known[0] == nullptr ? 0 : input_.below(2)]; }

  void open(Given &given) {
    if (!input_.rarely(8)) return;  // takes a while
    samedge_model_options options{};
    options.backend = input_.around(static_cast<int>(input_.below(4)));
    options.precision = input_.around(static_cast<int>(input_.below(3)));
    options.threads = input_.around(1);
    options.device = input_.around(0);
    options.hint = input_.around(static_cast<int>(input_.below(2)));
    options.engines = input_.rarely(8) ? "/nowhere" : nullptr;
    samedge_model *opened = bundle_.model;
    const samedge_status status =
        checked(samedge_model_open(input_.rarely(10) ? nullptr : bundle_.path.c_str(), given.placed(options), &opened));
    REQUIRE((status == SAMEDGE_OK) == (opened != nullptr));
    samedge_model *&target = place(models_);
    if (target != nullptr) samedge_model_close(target);
    target = opened;
  }

  void create() {
    samedge_session *made = nullptr;
    const samedge_status status = checked(samedge_session_create(input_.rarely(6) ? model() : bundle_.model, &made));
    REQUIRE((status == SAMEDGE_OK) == (made != nullptr));
    if (made == nullptr) return;
    samedge_session *&target = place(sessions_);
    samedge_session *before = target;
    target = made;
    if (before != sessions_[0] && before != sessions_[1]) samedge_session_destroy(before);
  }

  // The handle is kept now and then, to be used when it is dead.
  void destroy() {
    samedge_session *used = session();
    if (checked(samedge_session_destroy(used)) != SAMEDGE_OK || input_.rarely(3)) return;
    for (samedge_session *&known : sessions_)
      if (known == used) known = nullptr;
    if (sessions_[0] == nullptr) checked(samedge_session_create(bundle_.model, &sessions_[0]));
  }

  void questions(Given &given) {
    const char *text = nullptr;
    checked(samedge_class_name(bundle_.model, input_.around(0), &text));
    samedge_model_info info{};
    if (samedge_model_info *placed = given.placed(info)) checked(samedge_model_get_info(bundle_.model, placed));
    if (checked(samedge_get_notes(session(), &text)) == SAMEDGE_OK) REQUIRE(utf8(text));
    samedge_timing timing{};
    if (samedge_timing *placed = given.placed(timing)) checked(samedge_get_timing(session(), placed));
    samedge_model_options options{};
    samedge_tracker_options tracking{};
    checked(samedge_model_options_default(input_.rarely(9) ? nullptr : &options, sizeof options - input_.below(2)));
    checked(samedge_tracker_options_default(&tracking, sizeof tracking - input_.below(2)));
    if (input_.rarely(16)) {
      samedge_self_test_report report{};
      checked(samedge_self_test(bundle_.model, given.placed(report)));
    }
  }

  void set_frame(Given &given) {
    samedge_frame frame{};
    if (!make_frame(given, frame)) return;
    samedge_session *used = session();
    if (checked(samedge_set_frame(used, given.placed(frame))) == SAMEDGE_OK) {
      width_ = frame.width;
      height_ = frame.height;
    }
    no_answer(used);
  }

  void predict(Given &given) {
    samedge_prompts prompts{};
    const int objects = make_prompts(given, prompts, bundle_.info);
    if (std::int64_t{objects} * width_ * height_ > kMostBytes) return;
    Asked asked;
    make_result(input_, asked, bundle_.info, objects, prompts.multimask != 0, width_, height_);
    samedge_session *used = session();
    const samedge_prompts *placed = given.placed(prompts);
    if (checked(samedge_predict(used, placed, given.placed(asked.result))) != SAMEDGE_OK) {
      REQUIRE(asked.untouched());
      no_answer(used);
    }
  }

  void segment(Given &given) {
    samedge_frame frame{};
    samedge_prompts prompts{};
    if (!make_frame(given, frame)) return;
    const int objects = make_prompts(given, prompts, bundle_.info);
    if (objects > 64) return;
    Asked asked;
    make_result(input_, asked, bundle_.info, objects, prompts.multimask != 0, frame.width, frame.height);
    samedge_session *used = session();
    const samedge_frame *pixels = given.placed(frame);
    const samedge_prompts *placed = given.placed(prompts);
    if (checked(samedge_segment(used, pixels, placed, given.placed(asked.result))) != SAMEDGE_OK) {
      REQUIRE(asked.untouched());
      no_answer(used);
    } else {
      ++counts.masks;
      width_ = frame.width;
      height_ = frame.height;
    }
  }

  void slices(Given &given) {
    samedge_frame frame{};
    if (!make_frame(given, frame, bundle_.info.slices)) return;
    const bool fits = frame.slices > 1 && frame.slices <= 16384;
    const std::size_t count = fits ? static_cast<std::size_t>(frame.slices) : 1;
    samedge_prompts prompts{};
    const int objects = make_prompts(given, prompts, bundle_.info);
    if (objects > 16) return;
    Asked asked;
    make_result(input_, asked, bundle_.info, objects, prompts.multimask != 0, frame.width, frame.height);
    const samedge_prompts *one = given.placed(prompts);
    samedge_result *filled = given.placed(asked.result);
    auto **all = given.room<const samedge_prompts *>(count);
    auto **results = given.room<samedge_result *>(count);
    for (std::size_t i = 0; i < count; ++i) {
      all[i] = input_.rarely(40) ? nullptr : one;
      results[i] = input_.rarely(40) ? nullptr : filled;
    }
    samedge_session *used = session();
    const samedge_frame *pixels = given.placed(frame);
    const samedge_status status = checked(samedge_segment_slices(used, pixels, input_.rarely(8) ? nullptr : all,
                                                                 input_.rarely(20) ? nullptr : results));
    if (status != SAMEDGE_OK) no_answer(used);
    else ++counts.slices;
  }

  void embedding(Given &given) {
    const std::size_t needed = static_cast<std::size_t>(bundle_.info.embedding_size) *
                               static_cast<std::size_t>(bundle_.info.slices);
    const std::size_t capacity = input_.rarely(4) ? needed - 1 : needed;
    const auto *memory = given.room<float>(capacity);
    checked(samedge_get_embedding(session(), const_cast<float *>(memory), capacity));
  }

  void contours(Given &given) {
    samedge_contours contours{};
    samedge_session *used = session();
    const std::int32_t index = input_.around(0);
    contours.struct_size = sizeof contours;
    const samedge_status status = checked(samedge_get_contours(used, index, &contours));
    if (status != SAMEDGE_OK) return;
    const auto points = static_cast<std::size_t>(contours.point_count) * 2;
    const auto count = static_cast<std::size_t>(contours.contour_count);
    const std::size_t less = input_.rarely(4) ? 1 : 0;
    Room point_room((points - (points < less ? 0 : less)) * sizeof(std::int32_t));
    Room start_room(count * sizeof(std::int32_t));
    Room hole_room(count);
    contours.points = point_room.as<std::int32_t>();
    contours.points_capacity = points - (points < less ? 0 : less);
    contours.starts = start_room.as<std::int32_t>();
    contours.starts_capacity = count;
    contours.holes = hole_room.as<std::uint8_t>();
    contours.holes_capacity = count;
    samedge_contours *placed = given.placed(contours);
    if (checked(samedge_get_contours(used, index, placed)) != SAMEDGE_OK)
      REQUIRE(point_room.untouched() && start_room.untouched() && hole_room.untouched());
  }

  void create_tracker(Given &given) {
    samedge_prompts prompts{};
    if (make_prompts(given, prompts, bundle_.info) > 64) return;
    samedge_tracker_options options{};
    double *fields[] = {&options.score, &options.score_drop, &options.score_spread, &options.area_jump,
                        &options.overlap, &options.steady, &options.found_s, &options.border, &options.hold_s,
                        &options.fresh_s, &options.steady_s};
    for (double *field : fields)
      if (input_.rarely(20)) *field = input_.real();
    options.min_area = input_.around(0);
    samedge_tracker *made = trackers_[0];
    const samedge_prompts *placed = given.placed(prompts);
    const samedge_tracker_options *chosen = given.placed(options);
    const samedge_status status = checked(samedge_tracker_create(session(), placed, chosen, &made));
    REQUIRE((status == SAMEDGE_OK) == (made != nullptr));
    if (made == nullptr) return;
    samedge_tracker *&target = place(trackers_);
    samedge_tracker_destroy(target);
    target = made;
    objects_ = prompts.objects < 1 ? 1 : prompts.objects;
  }

  void track(Given &given) {
    samedge_frame frame{};
    if (!make_frame(given, frame) || objects_ > 64) return;
    Asked asked;
    make_result(input_, asked, bundle_.info, objects_, false, frame.width, frame.height);
    time_ += input_.rarely(8) ? input_.real() : 0.05;
    const std::size_t capacity = static_cast<std::size_t>(input_.rarely(10) ? objects_ - 1 : objects_);
    Room verdicts(capacity * sizeof(std::int32_t));
    const samedge_frame *pixels = given.placed(frame);
    const samedge_status status = checked(samedge_track(tracker(), pixels, time_, given.placed(asked.result),
                                                        verdicts.as<std::int32_t>(), capacity));
    if (status == SAMEDGE_OK) ++counts.tracked;
    else REQUIRE(asked.untouched() && verdicts.untouched());
    if (!std::isfinite(time_)) time_ = 0.0;
  }

  void ask_tracker() {
    const char *text = nullptr;
    double x = 0.0, y = 0.0;
    samedge_tracker *used = tracker();
    if (checked(samedge_tracker_reason(used, input_.around(0), &text)) == SAMEDGE_OK) REQUIRE(utf8(text));
    if (checked(samedge_tracker_point(used, input_.around(0), &x, &y)) == SAMEDGE_OK)
      REQUIRE(std::isfinite(x) && std::isfinite(y));
  }

  Input &input_;
  const Opened &bundle_;
  samedge_model *models_[3] = {};
  samedge_session *sessions_[3] = {};
  samedge_tracker *trackers_[3] = {};
  int width_ = 16, height_ = 16, objects_ = 1;
  double time_ = 0.0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  Input input(data, size);
  World world(input);
  for (int i = 0; i < 64 && !input.empty(); ++i) world.step();
  return 0;
}
