// samedge.hpp as a program uses it: built by tests/capi/test_hpp.py against the shared library alone.
//
// hpp_usage BUNDLE PIXELS WIDTH HEIGHT X Y: PIXELS is a file of grey levels. Prints what the test compares.
#include <samedge.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <type_traits>
#include <vector>

namespace {

static_assert(std::is_nothrow_move_constructible<samedge::Model>::value, "moving cannot fail");
static_assert(std::is_nothrow_move_assignable<samedge::Session>::value, "moving cannot fail");
static_assert(std::is_nothrow_move_constructible<samedge::Tracker>::value, "moving cannot fail");
static_assert(std::is_nothrow_destructible<samedge::Tracker>::value, "freeing cannot fail");
static_assert(!std::is_copy_constructible<samedge::Session>::value, "a session is one");
static_assert(!std::is_copy_constructible<samedge::Model>::value, "a model is one");

// What cv::Mat and QImage look like, without them.
struct Mat {
  const unsigned char *data;
  int cols, rows;
  std::size_t step;
  int channels() const { return 1; }
  std::size_t elemSize1() const { return 1; }
};

struct Image {
  const unsigned char *pixels;
  int wide, high, number;
  int format() const { return number; }
  const unsigned char *constBits() const { return pixels; }
  int width() const { return wide; }
  int height() const { return high; }
  int bytesPerLine() const { return wide; }
};

void need(bool fine, const char *what) {
  if (fine) return;
  std::fprintf(stderr, "failed: %s\n", what);
  std::exit(1);
}

template <typename Call>
samedge_status status_of(const Call &call) {
  try {
    call();
  } catch (const samedge::Error &error) {
    need(*error.what() != '\0', "an error has a message");
    return error.status();
  }
  return SAMEDGE_OK;
}

}  // namespace

int main(int count, char **arguments) {
  if (count != 7) return 2;
  std::ifstream file(arguments[2], std::ios::binary);
  const std::vector<unsigned char> pixels{std::istreambuf_iterator<char>(file), {}};
  const int width = std::atoi(arguments[3]), height = std::atoi(arguments[4]);
  const double x = std::atof(arguments[5]), y = std::atof(arguments[6]);

  auto options = samedge::made<samedge_model_options>();
  options.threads = 1;
  samedge::Model opened(arguments[1], options);
  const samedge::Model model = std::move(opened);
  need(status_of([&] { opened.self_test(); }) == SAMEDGE_ERROR_HANDLE, "what was moved from is NULL");
  samedge::Session session(model);
  samedge::Result result;
  result.want_low_res_logits = true;
  need(status_of([&] { result.mask(0); }) == SAMEDGE_ERROR_ARGUMENT, "an empty result has no mask");

  const samedge_frame frame = samedge::frame(SAMEDGE_GREY8, pixels.data(), width, height);
  session.segment(frame, samedge::Prompts().inside(x, y), result);
  need(result.count() == 1 && result.width() == width && result.height() == height, "one mask");
  const std::vector<unsigned char> first(result.mask(0), result.mask(0) + width * height);
  need(result.area(0) == std::count(first.begin(), first.end(), 1), "its area");
  need(result.low_res_logits(0) != nullptr && result.class_map() == nullptr, "what was wanted");
  const unsigned char *memory = result.mask(0);

  const Mat mat{pixels.data(), width, height, static_cast<std::size_t>(width)};
  session.set_frame(samedge::frame_of_mat(mat));
  session.predict(samedge::Prompts().inside(x, y), result);
  need(std::equal(first.begin(), first.end(), result.mask(0)), "set_frame and predict do the same");
  need(result.mask(0) == memory, "memory is used again");
  const Image image{pixels.data(), width, height, 24};
  session.segment(samedge::frame_of_qimage(image), samedge::Prompts().inside(x, y), result);
  need(std::equal(first.begin(), first.end(), result.mask(0)), "an image of Qt does the same");
  const Image strange{pixels.data(), width, height, 1};
  need(status_of([&] { samedge::frame_of_qimage(strange); }) == SAMEDGE_ERROR_FRAME, "not every format is taken");

  samedge::Contours contours;
  session.contours(0, contours);
  need(contours.starts.size() == contours.holes.size() && !contours.points.empty(), "outlines");
  std::vector<float> embedding;
  session.embedding(embedding);
  need(!embedding.empty() && session.timing().total > 0, "embedding and times");
  need(session.notes().empty() || session.notes().back() != '\n', "notes");

  need(status_of([&] { session.segment(frame, samedge::Prompts().inside(-5, y), result); }) == SAMEDGE_ERROR_PROMPT,
       "a point outside is refused");
  need(result.count() == 0, "there is no mask after a failure");
  need(status_of([&] { session.contours(0, contours); }) == SAMEDGE_ERROR_STATE, "and no outline");

  samedge::Tracker begun(session, samedge::Prompts().inside(x, y).outside(1, 1));
  samedge::Tracker tracker = std::move(begun);
  std::int32_t verdict = SAMEDGE_LOST;
  for (int i = 0; i < 3; ++i) verdict = tracker.track(frame, i / 30.0, result)[0];
  const auto [next_x, next_y] = tracker.point(0);
  need(verdict != SAMEDGE_GOOD || tracker.reason(0).empty(), "a good mask has no reason");
  tracker.lose();
  need(tracker.reason(0) == "the picture is another one", "a lost one has");

  const samedge_self_test_report report = model.self_test();
  need(report.margin >= 1 && report.flipped_far == 0, "the self-test passes");
  std::printf("%s %lld %d %g %g\n", model.info().family,
              static_cast<long long>(std::count(first.begin(), first.end(), 1)), verdict, next_x, next_y);
  return 0;
}
