// samedge.hpp: samedge.h for C++17. Handles that free themselves, exceptions, and results in vectors that
// keep their memory from frame to frame.
//
//   #include <samedge.hpp>
//
//   samedge::Model model("thyroid.samedge");       // once; shared by all threads
//   samedge::Session session(model);               // one for each thread
//   samedge::Result result;                        // reused: after the first frame nothing is allocated
//
//   const samedge_frame frame = samedge::frame(SAMEDGE_GREY8, pixels, 640, 480);
//   session.segment(frame, samedge::Prompts().inside(312, 240), result);
//   draw(result.mask(0), result.width(), result.height());
//
// And an object that is followed:
//
//   samedge::Tracker tracker(session, samedge::Prompts().inside(312, 240));
//   while (grab(picture, seconds)) {
//     const auto &verdicts = tracker.track(samedge::frame_of_mat(picture), seconds, result);
//     if (verdicts[0] == SAMEDGE_GOOD) draw(result.mask(0), result.width(), result.height());
//   }
//
// Every call that fails throws a samedge::Error with the status and the message. The rules of samedge.h hold:
// a session and its trackers serve one call at a time, masks come only from calls that succeeded, and frames
// are read during the call only. Header only: link with samedge::samedge, as for C.
//
// Research use only. Not a medical device. Apache-2.0.
#ifndef SAMEDGE_HPP
#define SAMEDGE_HPP

#include <samedge.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace samedge {

// ------------------------------------------------------------------------------------- Errors ---

// What came, what was expected and what to do; and the status.
class Error : public std::runtime_error {
 public:
  Error(samedge_status status, const std::string &message) : std::runtime_error(message), status_(status) {}

  samedge_status status() const noexcept { return status_; }
  const char *name() const noexcept { return samedge_status_string(status_); }  // "SAMEDGE_ERROR_FRAME"

 private:
  samedge_status status_;
};

inline void check(samedge_status status) {
  if (status != SAMEDGE_OK) throw Error(status, samedge_last_error());
}

// A struct of samedge.h with its size filled in and zeros elsewhere.
template <typename Struct>
Struct made() noexcept {
  Struct value{};
  value.struct_size = static_cast<std::uint32_t>(sizeof(Struct));
  return value;
}

// ------------------------------------------------------------------------------------- Frames ---

// A frame in the host's memory; the pixels have to be there during the call that takes it. stride: bytes
// from one row to the next, 0: no gaps. Set `crop`, `slices` and so on in what you get.
inline samedge_frame frame(std::int32_t format, const void *pixels, int width, int height,
                           std::int64_t stride = 0) noexcept {
  auto made_frame = made<samedge_frame>();
  made_frame.format = format;
  made_frame.pixels = pixels;
  made_frame.width = width;
  made_frame.height = height;
  made_frame.stride = stride;
  return made_frame;
}

// A cv::Mat of OpenCV: CV_8UC1, CV_16UC1, CV_8UC3 (BGR, OpenCV's order) or CV_8UC4 (BGRA). Parts of a larger
// picture are fine. Throws Error: another type.
template <typename Mat>
samedge_frame frame_of_mat(const Mat &mat) {
  const int channels = mat.channels();
  const auto bytes = static_cast<int>(mat.elemSize1());
  std::int32_t format = 0;
  if (bytes == 1 && channels == 1) format = SAMEDGE_GREY8;
  if (bytes == 2 && channels == 1) format = SAMEDGE_GREY16;
  if (bytes == 1 && channels == 3) format = SAMEDGE_BGR8;
  if (bytes == 1 && channels == 4) format = SAMEDGE_BGRA8;
  if (format == 0)
    throw Error(SAMEDGE_ERROR_FRAME, "a cv::Mat with " + std::to_string(channels) + " channels of " +
                                         std::to_string(bytes) +
                                         " bytes came; expected CV_8UC1, CV_16UC1, CV_8UC3 or CV_8UC4");
  const std::size_t step = mat.step;  // cv::Mat's is a class that becomes a number
  return frame(format, mat.data, mat.cols, mat.rows, static_cast<std::int64_t>(step));
}

// A QImage of Qt: Grayscale8, Grayscale16, RGB888, BGR888, RGB32, ARGB32, RGBX8888, RGBA8888 (also
// premultiplied: alpha is ignored). Others: image.convertToFormat(QImage::Format_Grayscale8) first.
// Throws Error: another format.
template <typename Image>
samedge_frame frame_of_qimage(const Image &image) {
  std::int32_t format = 0;
  switch (static_cast<int>(image.format())) {  // QImage::Format, whose numbers are part of Qt's ABI
    case 24: format = SAMEDGE_GREY8; break;
    case 28: format = SAMEDGE_GREY16; break;
    case 13: format = SAMEDGE_RGB8; break;
    case 29: format = SAMEDGE_BGR8; break;
    case 4: case 5: case 6: format = SAMEDGE_BGRA8; break;  // 0xAARRGGBB, on machines of today
    case 16: case 17: case 18: format = SAMEDGE_RGBA8; break;
    default:
      throw Error(SAMEDGE_ERROR_FRAME,
                  "a QImage of format " + std::to_string(static_cast<int>(image.format())) +
                      " came; convert it to QImage::Format_Grayscale8 or Format_RGB888");
  }
  return frame(format, image.constBits(), image.width(), image.height(),
               static_cast<std::int64_t>(image.bytesPerLine()));
}

// ------------------------------------------------------------------------------------ Prompts ---

// What is asked: Prompts().inside(x, y).outside(x, y), or .box(x0, y0, x1, y1); and after .object() the same
// for the next object. Coordinates are px of the frame.
class Prompts {
 public:
  Prompts() { counts_.push_back(0); }

  Prompts &inside(double x, double y) { return point(x, y, 1); }
  Prompts &outside(double x, double y) { return point(x, y, 0); }
  Prompts &box(double x0, double y0, double x1, double y1) {
    boxes_.insert(boxes_.end(), {x0, y0, x1, y1});
    return *this;
  }
  // What follows is of another object. Either all objects have a box or none has.
  Prompts &object() {
    counts_.push_back(0);
    return *this;
  }
  // Low-res logits of an earlier answer: [L][L] for all objects, or [N][L][L].
  Prompts &masks(std::vector<float> logits, int count) {
    masks_ = std::move(logits);
    mask_count_ = count;
    return *this;
  }
  // Several masks per object, where the model has them.
  Prompts &multimask(bool several = true) noexcept {
    multimask_ = several;
    return *this;
  }

  std::size_t objects() const noexcept { return counts_.size(); }
  bool is_multimask() const noexcept { return multimask_; }

  // For samedge.h; valid as long as this object is, and unchanged.
  samedge_prompts get() const {
    if (!boxes_.empty() && boxes_.size() != 4 * counts_.size())
      throw Error(SAMEDGE_ERROR_PROMPT, std::to_string(boxes_.size() / 4) + " boxes came for " +
                                            std::to_string(counts_.size()) +
                                            " objects; give all of them a box, or none");
    auto prompts = made<samedge_prompts>();
    prompts.objects = static_cast<std::int32_t>(counts_.size());
    prompts.point_count = static_cast<std::int32_t>(labels_.size());
    if (!labels_.empty()) {
      prompts.points = points_.data();
      prompts.labels = labels_.data();
      prompts.points_per_object = counts_.data();
    }
    if (!boxes_.empty()) prompts.boxes = boxes_.data();
    if (mask_count_ != 0) {
      prompts.masks = masks_.data();
      prompts.mask_count = mask_count_;
    }
    prompts.multimask = multimask_ ? 1 : 0;
    return prompts;
  }

  // Ask for something else with the same memory.
  void clear() noexcept {
    counts_.resize(1);
    counts_[0] = 0;
    points_.clear();
    labels_.clear();
    boxes_.clear();
    masks_.clear();
    mask_count_ = 0;
    multimask_ = false;
  }

 private:
  Prompts &point(double x, double y, std::int32_t label) {
    points_.push_back(x);
    points_.push_back(y);
    labels_.push_back(label);
    ++counts_.back();
    return *this;
  }

  std::vector<double> points_, boxes_;
  std::vector<std::int32_t> labels_, counts_;
  std::vector<float> masks_;
  std::int32_t mask_count_ = 0;
  bool multimask_ = false;
};

// ------------------------------------------------------------------------------------- Results ---

// An answer. Use one object for all frames: its memory grows to what the largest needs and stays. After a
// call that failed it holds nothing: count() is 0.
class Result {
 public:
  // What else is wanted beside masks, scores, boxes and areas.
  bool want_class_map = false;
  bool want_low_res_logits = false;
  // Of px inside a mask, 1 to 255.
  std::uint8_t mask_value = 1;

  std::size_t count() const noexcept { return count_; }
  int width() const noexcept { return width_; }
  int height() const noexcept { return height_; }
  int low_res() const noexcept { return low_res_; }

  // Each of mask `i`. [height][width], 0 or mask_value.
  const std::uint8_t *mask(std::size_t i) const { return masks_.data() + checked(i) * pixels(); }
  float score(std::size_t i) const { return scores_[checked(i)]; }
  std::int64_t area(std::size_t i) const { return areas_[checked(i)]; }
  const std::int32_t *box(std::size_t i) const { return boxes_.data() + 4 * checked(i); }  // x0, y0, x1, y1
  int object(std::size_t i) const { return object_index_[checked(i)]; }
  int class_index(std::size_t i) const { return class_index_[checked(i)]; }
  // [L][L]; nullptr unless it was wanted.
  const float *low_res_logits(std::size_t i) const {
    if (low_res_logits_.empty()) return nullptr;
    const auto side = static_cast<std::size_t>(low_res_);
    return low_res_logits_.data() + checked(i) * side * side;
  }
  // [height][width], the class of every px; nullptr unless it was wanted and there is one.
  const std::uint8_t *class_map() const noexcept { return has_class_map_ ? class_map_.data() : nullptr; }

 private:
  friend class Session;
  friend class Tracker;

  // Room for `count` masks of a frame.
  samedge_result room(std::size_t count, const samedge_frame &frame, int low_res) {
    count_ = 0;
    has_class_map_ = false;
    // Of a size that will be refused nothing is allocated.
    const auto limited = [](int side) {
      return side < 0 || side > 4096 ? std::size_t{0} : static_cast<std::size_t>(side);
    };
    const std::size_t one = limited(frame.width) * limited(frame.height);
    const std::size_t logits = static_cast<std::size_t>(low_res) * static_cast<std::size_t>(low_res);
    auto result = made<samedge_result>();
    result.mask_value = mask_value;
    const auto give = [](auto &buffer, std::size_t size, auto *&pointer, std::size_t &capacity) {
      buffer.resize(size);
      pointer = buffer.data();
      capacity = size;
    };
    give(masks_, count * one, result.masks, result.masks_capacity);
    give(scores_, count, result.scores, result.scores_capacity);
    give(areas_, count, result.areas, result.areas_capacity);
    give(boxes_, 4 * count, result.boxes, result.boxes_capacity);
    give(object_index_, count, result.object_index, result.object_index_capacity);
    give(class_index_, count, result.class_index, result.class_index_capacity);
    if (want_class_map) give(class_map_, one, result.class_map, result.class_map_capacity);
    if (want_low_res_logits)
      give(low_res_logits_, count * logits, result.low_res_logits, result.low_res_capacity);
    else
      low_res_logits_.clear();
    return result;
  }

  void filled(const samedge_result &result) noexcept {
    count_ = static_cast<std::size_t>(result.count);
    width_ = result.width;
    height_ = result.height;
    low_res_ = result.low_res;
    has_class_map_ = want_class_map && result.has_class_map != 0;
  }

  std::size_t pixels() const noexcept {
    return static_cast<std::size_t>(width_) * static_cast<std::size_t>(height_);
  }
  std::size_t checked(std::size_t i) const {
    if (i < count_) return i;
    throw Error(SAMEDGE_ERROR_ARGUMENT, "there is no mask " + std::to_string(i) + "; the answer has " +
                                            std::to_string(count_) + " (none after a call that failed)");
  }

  std::size_t count_ = 0;
  int width_ = 0, height_ = 0, low_res_ = 0;
  bool has_class_map_ = false;
  std::vector<std::uint8_t> masks_, class_map_;
  std::vector<float> scores_, low_res_logits_;
  std::vector<std::int64_t> areas_;
  std::vector<std::int32_t> boxes_, object_index_, class_index_;
};

// Outlines of a mask: see samedge_contours. Outline `i` has the points from starts[i] on, x and y of each.
struct Contours {
  std::vector<std::int32_t> points;
  std::vector<std::int32_t> starts;
  std::vector<std::uint8_t> holes;
};

// ------------------------------------------------------------------------------------- Handles ---

namespace detail {

// A handle that frees itself; moved from, it is NULL, which samedge recognises.
template <typename T, samedge_status (*Free)(T *)>
class Handle {
 public:
  Handle() noexcept = default;
  Handle(Handle &&other) noexcept : value_(std::exchange(other.value_, nullptr)) {}
  Handle &operator=(Handle &&other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~Handle() { static_cast<void>(Free(value_)); }

  T *get() const noexcept { return value_; }
  T **out() noexcept { return &value_; }

 private:
  T *value_ = nullptr;
};

}  // namespace detail

// A bundle, read and compiled; see samedge_model_open.
class Model {
 public:
  explicit Model(const std::string &path) : Model(path, made<samedge_model_options>()) {}
  Model(const std::string &path, const samedge_model_options &options) : info_(made<samedge_model_info>()) {
    check(samedge_abi_check(SAMEDGE_ABI_MAJOR, SAMEDGE_ABI_MINOR));
    check(samedge_model_open(path.c_str(), &options, handle_.out()));
    check(samedge_model_get_info(handle_.get(), &info_));
  }

  // Its strings live as long as the model.
  const samedge_model_info &info() const noexcept { return info_; }

  std::string class_name(int index) const {
    const char *name = nullptr;
    check(samedge_class_name(handle_.get(), index, &name));
    return name;
  }

  // The parity gate on the bundle's own frames. Throws Error with SAMEDGE_ERROR_PARITY: do not use it here.
  samedge_self_test_report self_test() const {
    auto report = made<samedge_self_test_report>();
    check(samedge_self_test(handle_.get(), &report));
    return report;
  }

  samedge_model *get() const noexcept { return handle_.get(); }

 private:
  detail::Handle<samedge_model, samedge_model_close> handle_;
  samedge_model_info info_;
};

// Scratch memory for one frame at a time: one for each thread. It keeps the model's weights alive.
class Session {
 public:
  explicit Session(const Model &model)
      : single_masks_(model.info().single_masks),
        multi_masks_(model.info().multi_masks),
        low_res_(model.info().low_res),
        embedding_size_(static_cast<std::size_t>(model.info().embedding_size) *
                        static_cast<std::size_t>(model.info().slices)) {
    check(samedge_session_create(model.get(), handle_.out()));
  }

  // Encode a frame, to prompt it as often as you like.
  void set_frame(const samedge_frame &frame) {
    frame_ = frame;  // its size; the pixels are not looked at again
    check(samedge_set_frame(handle_.get(), &frame));
  }
  void predict(const Prompts &prompts, Result &result) {
    const samedge_prompts asked = prompts.get();
    samedge_result room = result.room(masks_of(prompts), frame_, low_res_);
    check(samedge_predict(handle_.get(), &asked, &room));
    result.filled(room);
  }
  // Both in one call.
  void segment(const samedge_frame &frame, const Prompts &prompts, Result &result) {
    frame_ = frame;
    const samedge_prompts asked = prompts.get();
    samedge_result room = result.room(masks_of(prompts), frame, low_res_);
    check(samedge_segment(handle_.get(), &frame, &asked, &room));
    result.filled(room);
  }
  // For models that take no prompts.
  void segment(const samedge_frame &frame, Result &result) {
    frame_ = frame;
    samedge_result room = result.room(static_cast<std::size_t>(single_masks_), frame, low_res_);
    check(samedge_segment(handle_.get(), &frame, nullptr, &room));
    result.filled(room);
  }
  // A volume: frame.slices of them, with as many prompts (none for models that take none); results gets as
  // many.
  void segment_slices(const samedge_frame &frame, const std::vector<Prompts> &prompts,
                      std::vector<Result> &results) {
    const std::size_t count = frame.slices > 1 ? static_cast<std::size_t>(frame.slices) : 1;
    if (!prompts.empty() && prompts.size() != count)
      throw Error(SAMEDGE_ERROR_PROMPT, "prompts of " + std::to_string(prompts.size()) + " slices came for " +
                                            std::to_string(count));
    results.resize(count);
    std::vector<samedge_prompts> asked;
    std::vector<samedge_result> rooms;
    for (const Prompts &one : prompts) asked.push_back(one.get());
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t masks =
          prompts.empty() ? static_cast<std::size_t>(single_masks_) : masks_of(prompts[i]);
      rooms.push_back(results[i].room(masks, frame, low_res_));
    }
    std::vector<const samedge_prompts *> asked_at;
    std::vector<samedge_result *> rooms_at;
    for (const samedge_prompts &one : asked) asked_at.push_back(&one);
    for (samedge_result &one : rooms) rooms_at.push_back(&one);
    check(samedge_segment_slices(handle_.get(), &frame, asked.empty() ? nullptr : asked_at.data(),
                                 rooms_at.data()));
    for (std::size_t i = 0; i < count; ++i) results[i].filled(rooms[i]);
  }

  // Outlines of mask `index` of the last answer, into vectors that keep their memory.
  void contours(int index, Contours &contours) {
    auto wanted = made<samedge_contours>();
    check(samedge_get_contours(handle_.get(), index, &wanted));
    contours.points.resize(2 * static_cast<std::size_t>(wanted.point_count));
    contours.starts.resize(static_cast<std::size_t>(wanted.contour_count));
    contours.holes.resize(static_cast<std::size_t>(wanted.contour_count));
    wanted.points = contours.points.data();
    wanted.points_capacity = contours.points.size();
    wanted.starts = contours.starts.data();
    wanted.starts_capacity = contours.starts.size();
    wanted.holes = contours.holes.data();
    wanted.holes_capacity = contours.holes.size();
    check(samedge_get_contours(handle_.get(), index, &wanted));
  }

  void embedding(std::vector<float> &values) {
    values.resize(embedding_size_);
    check(samedge_get_embedding(handle_.get(), values.data(), values.size()));
  }
  samedge_timing timing() const {
    auto timing = made<samedge_timing>();
    check(samedge_get_timing(handle_.get(), &timing));
    return timing;
  }
  // What may be wrong for the current frame, a line each.
  std::string notes() const {
    const char *notes = "";
    check(samedge_get_notes(handle_.get(), &notes));
    return notes;
  }

  samedge_session *get() const noexcept { return handle_.get(); }

 private:
  friend class Tracker;

  std::size_t masks_of(const Prompts &prompts) const noexcept {
    const int each = prompts.is_multimask() && multi_masks_ > 0 ? multi_masks_ : single_masks_;
    return prompts.objects() * static_cast<std::size_t>(each);
  }

  detail::Handle<samedge_session, samedge_session_destroy> handle_;
  int single_masks_, multi_masks_, low_res_;
  std::size_t embedding_size_;
  samedge_frame frame_ = made<samedge_frame>();
};

// Objects that are followed from frame to frame; see samedge_tracker_create. A call of it is a call of its
// session, which it keeps alive.
class Tracker {
 public:
  Tracker(const Session &session, const Prompts &prompts)
      : Tracker(session, prompts, made<samedge_tracker_options>()) {}
  Tracker(const Session &session, const Prompts &prompts, const samedge_tracker_options &options)
      : low_res_(session.low_res_), verdicts_(prompts.objects()) {
    const samedge_prompts asked = prompts.get();
    check(samedge_tracker_create(session.get(), &asked, &options, handle_.out()));
  }

  // One mask for each object, and SAMEDGE_GOOD, SAMEDGE_DOUBTFUL or SAMEDGE_LOST of each: a mask that is not
  // good is not to be shown as the object. time_s: when the frame was taken, in seconds of any clock.
  const std::vector<std::int32_t> &track(const samedge_frame &frame, double time_s, Result &result) {
    samedge_result room = result.room(verdicts_.size(), frame, low_res_);
    check(samedge_track(handle_.get(), &frame, time_s, &room, verdicts_.data(), verdicts_.size()));
    result.filled(room);
    return verdicts_;
  }

  // Another scene has come.
  void lose() { check(samedge_tracker_lose(handle_.get())); }

  // Why the last mask of an object is not good; "" if it is.
  std::string reason(int object) const {
    const char *reason = "";
    check(samedge_tracker_reason(handle_.get(), object, &reason));
    return reason;
  }
  // Where it will be asked for next: x, y in px.
  std::pair<double, double> point(int object) const {
    std::pair<double, double> at{0.0, 0.0};
    check(samedge_tracker_point(handle_.get(), object, &at.first, &at.second));
    return at;
  }

  samedge_tracker *get() const noexcept { return handle_.get(); }

 private:
  detail::Handle<samedge_tracker, samedge_tracker_destroy> handle_;
  int low_res_;
  std::vector<std::int32_t> verdicts_;
};

}  // namespace samedge

#endif  // SAMEDGE_HPP
