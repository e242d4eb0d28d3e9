// live_opencv BUNDLE SOURCE [X Y] [--no-window]: follow one object in a video file or a camera.
//
// SOURCE: a file, a GStreamer pipeline, or a number for a camera. X Y: a point inside the object in the
// first frame; default: the middle. In the window a click begins anew and Esc ends it. Without a window the
// verdict, area and times of every frame are printed.
#include <samedge.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <opencv2/core.hpp>
#include <opencv2/highgui.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>
#include <string>
#include <vector>

namespace {

constexpr const char *kWindow = "samedge: research use only";
constexpr const char *kVerdicts[] = {"good", "doubtful", "lost"};

struct Click {
  double x = 0.0;
  double y = 0.0;
  bool fresh = false;
};

void on_mouse(int event, int x, int y, int, void *click) {
  if (event != cv::EVENT_LBUTTONDOWN) return;
  *static_cast<Click *>(click) = {static_cast<double>(x), static_cast<double>(y), true};
}

bool is_number(const std::string &text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

void draw(cv::Mat &picture, const samedge::Result &result, int verdict, const std::string &reason) {
  if (verdict == SAMEDGE_GOOD) {
    // The result's memory as a cv::Mat: no copy.
    const cv::Mat mask(result.height(), result.width(), CV_8UC1, const_cast<unsigned char *>(result.mask(0)));
    std::vector<std::vector<cv::Point>> outlines;
    cv::findContours(mask, outlines, cv::RETR_EXTERNAL, cv::CHAIN_APPROX_NONE);
    cv::drawContours(picture, outlines, -1, {0, 255, 255}, 2);
  } else {
    const std::string words = std::string(kVerdicts[verdict]) + ": " + reason;
    cv::putText(picture, words, {8, 24}, cv::FONT_HERSHEY_SIMPLEX, 0.6, {0, 0, 255}, 2);
  }
  cv::imshow(kWindow, picture);
}

int run(const std::vector<std::string> &given, bool window) {
  cv::VideoCapture source;
  if (is_number(given[1]))
    source.open(std::atoi(given[1].c_str()));
  else
    source.open(given[1]);
  cv::Mat picture;
  if (!source.isOpened() || !source.read(picture)) {
    std::fprintf(stderr, "%s: no video could be read\n", given[1].c_str());
    return 1;
  }
  Click click{picture.cols / 2.0, picture.rows / 2.0, true};
  if (given.size() == 4) click = {std::atof(given[2].c_str()), std::atof(given[3].c_str()), true};

  const samedge::Model model(given[0]);
  samedge::Session session(model);
  samedge::Result result;  // keeps its memory: after the first frame samedge allocates nothing
  std::unique_ptr<samedge::Tracker> tracker;
  if (window) {
    cv::namedWindow(kWindow);
    cv::setMouseCallback(kWindow, on_mouse, &click);
  }
  const auto start = std::chrono::steady_clock::now();
  const double rate = is_number(given[1]) ? 0.0 : source.get(cv::CAP_PROP_FPS);
  for (int number = 0; !picture.empty(); ++number, source.read(picture)) {
    if (click.fresh) {
      const samedge::Prompts prompts = samedge::Prompts().inside(click.x, click.y);
      tracker = std::make_unique<samedge::Tracker>(session, prompts);
      click.fresh = false;
    }
    // When the frame was taken: a file's own time, else the clock.
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
    const double seconds = rate > 0 ? number / rate : passed.count();
    const int verdict = tracker->track(samedge::frame_of_mat(picture), seconds, result)[0];
    const samedge_timing timing = session.timing();
    if (!window) {
      const long long area = verdict == SAMEDGE_GOOD ? static_cast<long long>(result.area(0)) : 0;
      std::printf("%d %s %lld px, %.1f ms (encode %.1f, decode %.1f)%s%s\n", number, kVerdicts[verdict], area,
                  timing.total, timing.encode, timing.decode, verdict == SAMEDGE_GOOD ? "" : ": ",
                  tracker->reason(0).c_str());
      continue;
    }
    draw(picture, result, verdict, tracker->reason(0));
    if (cv::waitKey(1) == 27) break;
  }
  return 0;
}

}  // namespace

int main(int count, char **arguments) {
  std::vector<std::string> given(arguments + 1, arguments + count);
  bool window = true;
  if (!given.empty() && given.back() == "--no-window") {
    window = false;
    given.pop_back();
  }
  if (given.size() != 2 && given.size() != 4) {
    std::fprintf(stderr, "usage: live_opencv BUNDLE SOURCE [X Y] [--no-window]\n");
    return 2;
  }
  try {
    return run(given, window);
  } catch (const samedge::Error &error) {
    std::fprintf(stderr, "%s: %s\n", error.name(), error.what());
  } catch (const cv::Exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  return 1;
}
