#include "bundle/self_test_file.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <optional>

#include "base/failure.hpp"
#include "bundle/archive.hpp"
#include "bundle/limits.hpp"
#include "bundle/names.hpp"

namespace samedge {

namespace {

constexpr char kMagic[] = "\x93NUMPY\x01\x00";  // and the minor version, 0
constexpr std::size_t kPrefix = 10;         // magic, version, length of the header
constexpr std::size_t kMaxAxes = 4;

// An .npy file: numbers in C order, little-endian.
struct Array {
  std::string type;  // "<f8"
  std::vector<std::size_t> shape;
  Bytes file;
  std::size_t start = 0;  // of the numbers

  std::size_t elements() const noexcept {
    std::size_t count = 1;
    for (const std::size_t side : shape) count *= side;
    return count;
  }
  const std::uint8_t *data() const noexcept { return file.data.get() + start; }
};

[[noreturn]] void refuse(const std::string &test, const std::string &why) {
  fail(SAMEDGE_ERROR_BUNDLE, "the self-test '%s' cannot be read (%s); export the bundle again", test.c_str(),
       why.c_str());
}

// The header of an .npy file: one Python dict with the three keys that numpy writes, each once.
class Header {
 public:
  Header(std::string_view text, const std::string &test, const std::string &field)
      : text_(text), test_(test), field_(field) {}

  void read(Array &array) {
    bool type = false, order = false, shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string key = quoted();
      expect(':');
      if (key == "descr" && !type) {
        array.type = quoted();
        type = true;
      } else if (key == "fortran_order" && !order) {
        if (!accept_word("False")) wrong("is not in C order");
        order = true;
      } else if (key == "shape" && !shape) {
        read_shape(array.shape);
        shape = true;
      } else {
        wrong("has an unknown header");
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    if (!type || !order || !shape) wrong("has half a header");
    if (text_.find_first_not_of(" \n", at_) != std::string_view::npos) wrong("has more than a header");
  }

 private:
  [[noreturn]] void wrong(const char *what) const { refuse(test_, field_ + " " + what); }

  void skip() noexcept {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool accept(char byte) noexcept {
    skip();
    if (at_ >= text_.size() || text_[at_] != byte) return false;
    ++at_;
    return true;
  }
  void expect(char byte) {
    if (!accept(byte)) wrong("has a damaged header");
  }
  bool accept_word(std::string_view word) noexcept {
    skip();
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  std::string quoted() {
    expect('\'');
    const std::size_t end = text_.find('\'', at_);
    if (end == std::string_view::npos) wrong("has a damaged header");
    std::string found(text_.substr(at_, end - at_));
    at_ = end + 1;
    return found;
  }
  void read_shape(std::vector<std::size_t> &shape) {
    expect('(');
    while (!accept(')')) {
      skip();
      std::size_t side = 0, digits = 0;
      for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_, ++digits) {
        if (digits == 9) wrong("has a size that no self-test has");
        side = side * 10 + static_cast<std::size_t>(text_[at_] - '0');
      }
      if (digits == 0) wrong("has a damaged header");
      if (shape.size() == kMaxAxes) wrong("has more axes than any array of a self-test");
      shape.push_back(side);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
  }

  std::string_view text_;
  const std::string &test_, &field_;
  std::size_t at_ = 0;
};

// Throws Failure(BUNDLE): it is no array of `type`.
Array array_of(Bytes file, const std::string &test, const std::string &field, const char *type,
               std::size_t size) {
  Array array;
  array.file = std::move(file);
  const std::string_view all(reinterpret_cast<const char *>(array.file.data.get()), array.file.size);
  // NOLINTNEXTLINE(bugprone-string-constructor): the literal and its zero byte
  if (all.size() < kPrefix || all.substr(0, 8) != std::string_view(kMagic, 8))
    refuse(test, field + " is no array of numpy's format 1.0");
  const auto byte = [&](std::size_t at) { return static_cast<std::size_t>(array.file.data[at]); };
  const std::size_t length = byte(8) | byte(9) << 8U;
  if (all.size() - kPrefix < length) refuse(test, field + " has a damaged header");
  array.start = kPrefix + length;
  Header(all.substr(kPrefix, length), test, field).read(array);
  if (array.type != type)
    refuse(test, field + " has the type " + shown(array.type, 20) + ", expected " + type);
  // Four sides of up to nine digits are more than 64 bits: divide instead.
  std::size_t left = (array.file.size - array.start) / size;
  const bool empty = std::find(array.shape.begin(), array.shape.end(), 0U) != array.shape.end();
  for (const std::size_t side : array.shape) {
    if (!empty && side > left) refuse(test, field + " has fewer numbers than its shape says");
    if (!empty) left /= side;
  }
  if ((empty ? 0 : array.elements()) * size != array.file.size - array.start)
    refuse(test, field + " has not as many numbers as its shape says");
  return array;
}

std::string shape_of(const Array &array) {
  std::string made = "[";
  for (const std::size_t side : array.shape) made += (made.size() == 1 ? "" : ", ") + std::to_string(side);
  return made + "]";
}

// The arrays of a file, read one by one.
class Arrays {
 public:
  Arrays(const std::string &test, const std::uint8_t *data, std::size_t size)
      : test_(test), archive_(data, size, "the self-test '" + test + "'") {
    std::uint64_t unpacked = 0;
    for (const auto &entry : archive_.entries()) {
      const std::uint64_t times = entry.first == "masks.npy" ? 8 : 1;  // they are packed
      if (entry.second.size > kSelfTestBytes) refuse(test_, "it says that it holds more than any self-test");
      unpacked = std::min(unpacked, kSelfTestBytes) + entry.second.size * times;
      if (unpacked > kSelfTestBytes) refuse(test_, "it says that it holds more than any self-test");
    }
  }

  std::optional<Array> optional(const std::string &field, const char *type, std::size_t size) const {
    const auto entry = archive_.entries().find(field + ".npy");
    if (entry == archive_.entries().end()) return {};
    return array_of(archive_.read(entry->second, entry->first), test_, field, type, size);
  }

  Array get(const std::string &field, const char *type, std::size_t size) const {
    std::optional<Array> found = optional(field, type, size);
    if (!found.has_value()) refuse(test_, "it has no " + field);
    return std::move(*found);
  }

  bool flag(const std::string &field) const {
    const std::optional<Array> found = optional(field, "|b1", 1);
    need(!found.has_value() || found->shape.empty(), field, "one truth value");
    return found.has_value() && found->data()[0] != 0;
  }

  void need(bool fine, const std::string &field, const char *wanted) const {
    if (!fine) refuse(test_, field + " is not " + wanted);
  }
  void need_shape(bool fine, const std::string &field, const Array &array, const char *wanted) const {
    if (!fine) refuse(test_, field + " is " + shape_of(array) + ", expected " + wanted);
  }

 private:
  const std::string &test_;
  Archive archive_;
};

template <typename T>
std::vector<T> values_of(const Array &array) {
  std::vector<T> values(array.elements());
  if (!values.empty()) std::memcpy(values.data(), array.data(), values.size() * sizeof(T));
  return values;
}

template <typename T>
bool all_finite(const std::vector<T> &values) noexcept {
  return std::all_of(values.begin(), values.end(), [](T value) { return std::isfinite(value); });
}

void set_frame(const Arrays &arrays, SelfTestFrame &made) {
  const Array frame = arrays.get("frame", "|u1", 1);
  const auto &shape = frame.shape;
  if (made.stack) arrays.need_shape(shape.size() == 3, "frame", frame, "[D, H, W]");
  else
    arrays.need_shape(shape.size() == 2 || (shape.size() == 3 && shape[2] == 3), "frame", frame,
                      "[H, W] or [H, W, 3]");
  const std::size_t first = made.stack ? 1 : 0;
  made.slices = made.stack ? static_cast<int>(shape[0]) : 1;
  made.height = static_cast<int>(shape[first]);
  made.width = static_cast<int>(shape[first + 1]);
  made.channels = !made.stack && shape.size() == 3 ? 3 : 1;
  made.frame = values_of<std::uint8_t>(frame);
}

void set_prompts(const Arrays &arrays, SelfTestFrame &made) {
  const Array points = arrays.get("points", "<f8", sizeof(double));
  arrays.need_shape(points.shape.size() == 3 && points.shape[2] == 2, "points", points, "[N, P, 2]");
  made.objects = static_cast<int>(points.shape[0]);
  made.points_per_object = static_cast<int>(points.shape[1]);
  if (made.stack) arrays.need(made.slices == made.objects, "frame", "as many slices as there are points");
  made.points = values_of<double>(points);
  arrays.need(all_finite(made.points), "points", "finite");
  const Array labels = arrays.get("labels", "<i8", sizeof(std::int64_t));
  arrays.need_shape(
      labels.shape.size() == 2 && labels.shape[0] == points.shape[0] && labels.shape[1] == points.shape[1],
      "labels", labels, "[N, P] like the points");
  for (const std::int64_t label : values_of<std::int64_t>(labels)) {
    arrays.need(label >= INT32_MIN && label <= INT32_MAX, "labels", "0 or 1 everywhere");
    made.labels.push_back(static_cast<std::int32_t>(label));
  }
  const std::optional<Array> box = arrays.optional("box", "<f8", sizeof(double));
  if (!box.has_value()) return;
  arrays.need_shape(box->shape.size() == 2 && box->shape[0] == points.shape[0] && box->shape[1] == 4, "box",
                    *box, "[N, 4] like the points");
  made.boxes = values_of<double>(*box);
  arrays.need(all_finite(made.boxes), "box", "finite");
}

void set_answer(const Arrays &arrays, SelfTestFrame &made) {
  const Array logits = arrays.get("low_res_logits", "<f4", sizeof(float));
  arrays.need_shape(logits.shape.size() == 3 && logits.shape[1] == logits.shape[2], "low_res_logits", logits,
                    "[K, L, L]");
  const std::size_t count = logits.shape[0];
  made.masks_count = static_cast<int>(count);
  made.low_res = static_cast<int>(logits.shape[2]);
  made.low_res_logits = values_of<float>(logits);
  arrays.need(all_finite(made.low_res_logits), "low_res_logits", "finite");
  const Array scores = arrays.get("scores", "<f4", sizeof(float));
  arrays.need_shape(scores.shape.size() == 1 && scores.shape[0] == count, "scores", scores, "[K]");
  made.scores = values_of<float>(scores);
  arrays.need(all_finite(made.scores), "scores", "finite");
  const Array masks = arrays.get("masks", "|u1", 1);  // 8 px in a byte, the first one in its highest bit
  const auto height = static_cast<std::size_t>(made.height), width = static_cast<std::size_t>(made.width);
  const std::size_t row = (width + 7) / 8;
  arrays.need_shape(
      masks.shape.size() == 3 && masks.shape[0] == count && masks.shape[1] == height && masks.shape[2] == row,
      "masks", masks, "[K, H, (W + 7) / 8]");
  made.masks.resize(count * height * width);
  for (std::size_t y = 0; y < count * height; ++y)
    for (std::size_t x = 0; x < width; ++x)
      made.masks[y * width + x] =
          static_cast<std::uint8_t>(masks.data()[y * row + x / 8] >> (7U - x % 8U) & 1U);
}

}  // namespace

SelfTestFrame parse_self_test(const std::string &name, const std::uint8_t *data, std::size_t size) {
  // "selftest/square-point.npz" is the file of "square-point".
  SelfTestFrame made;
  made.name = name;
  if (begins_with(made.name, kSelfTestFolder)) made.name.erase(0, sizeof kSelfTestFolder - 1);
  if (ends_with(made.name, kSelfTestEnding))
    made.name.resize(made.name.size() - (sizeof kSelfTestEnding - 1));
  if (!is_safe_name(made.name) || made.name.find('/') != std::string::npos)
    fail(SAMEDGE_ERROR_BUNDLE, "a self-test's name is letters, digits and ._+-, not '%s'",
         shown(made.name).c_str());
  const Arrays arrays(made.name, data, size);
  made.multimask = arrays.flag("multimask");
  made.stack = arrays.flag("stack");
  set_frame(arrays, made);
  set_prompts(arrays, made);
  set_answer(arrays, made);
  return made;
}

}  // namespace samedge
