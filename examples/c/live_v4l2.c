/* live_v4l2 BUNDLE DEVICE X Y [FRAMES]: follow one object in the pictures of a frame grabber.
 *
 * No library but samedge. Linux, V4L2: GREY, NV12 or YUYV in mapped memory. Prints verdict, area and time
 * of every frame.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <samedge.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define BUFFERS 4

struct device {
  int file;
  struct v4l2_pix_format format;
  void *memory[BUFFERS];
  size_t length[BUFFERS];
  unsigned count;
};

static int call(int file, unsigned long request, void *argument) {
  int result = 0;
  do result = ioctl(file, request, argument);
  while (result == -1 && errno == EINTR);
  return result;
}

static int failed(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  return 1;
}

/* The first of our formats that the device gives; other sizes than its own are left to `v4l2-ctl`. */
static int choose_format(struct device *device) {
  static const unsigned wanted[] = {V4L2_PIX_FMT_GREY, V4L2_PIX_FMT_NV12, V4L2_PIX_FMT_YUYV};
  struct v4l2_format format = {.type = V4L2_BUF_TYPE_VIDEO_CAPTURE};
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; ++i) {
    if (call(device->file, VIDIOC_G_FMT, &format) == -1) return -1;
    format.fmt.pix.pixelformat = wanted[i];
    format.fmt.pix.field = V4L2_FIELD_ANY;
    if (call(device->file, VIDIOC_S_FMT, &format) == 0 && format.fmt.pix.pixelformat == wanted[i]) {
      device->format = format.fmt.pix;
      return 0;
    }
  }
  errno = ENOTSUP;
  return -1;
}

static int start(struct device *device) {
  struct v4l2_requestbuffers request = {
      .count = BUFFERS, .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
  int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  if (choose_format(device) == -1 || call(device->file, VIDIOC_REQBUFS, &request) == -1) return -1;
  for (device->count = 0; device->count < request.count && device->count < BUFFERS; ++device->count) {
    struct v4l2_buffer buffer = {
        .index = device->count, .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
    if (call(device->file, VIDIOC_QUERYBUF, &buffer) == -1) return -1;
    void *memory =
        mmap(NULL, buffer.length, PROT_READ | PROT_WRITE, MAP_SHARED, device->file, buffer.m.offset);
    if (memory == MAP_FAILED) return -1;
    device->memory[device->count] = memory;
    device->length[device->count] = buffer.length;
    if (call(device->file, VIDIOC_QBUF, &buffer) == -1) return -1;
  }
  return call(device->file, VIDIOC_STREAMON, &type);
}

/* The newest picture: what waited while the last one was segmented is given back unseen. */
static int newest(struct device *device, struct v4l2_buffer *taken) {
  struct pollfd ready = {.fd = device->file, .events = POLLIN};
  int have = 0;
  for (;;) {
    const int there = poll(&ready, 1, have ? 0 : 2000);
    if (there == -1 && errno == EINTR) continue;
    if (there == 0 && have) return 0;
    if (there == 0) errno = ETIMEDOUT;
    if (there != 1) return -1;
    struct v4l2_buffer buffer = {.type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
    if (call(device->file, VIDIOC_DQBUF, &buffer) == -1) return -1;
    if (have && call(device->file, VIDIOC_QBUF, taken) == -1) return -1;
    *taken = buffer;
    have = 1;
  }
}

/* Every second byte of YUYV is grey; `grey` has room for the picture. */
static void take_grey(const struct v4l2_pix_format *format, const unsigned char *pixels,
                      unsigned char *grey) {
  for (unsigned y = 0; y < format->height; ++y)
    for (unsigned x = 0; x < format->width; ++x)
      grey[(size_t)y * format->width + x] = pixels[(size_t)y * format->bytesperline + 2 * (size_t)x];
}

static int follow(struct device *device, samedge_session *session, samedge_tracker *tracker,
                  long frames) {
  static const char *const verdicts[] = {"good", "doubtful", "lost"};
  const struct v4l2_pix_format *format = &device->format;
  unsigned char *grey = malloc((size_t)format->width * format->height);
  int64_t area = 0;
  int32_t verdict = SAMEDGE_LOST;
  samedge_frame frame = {.struct_size = sizeof frame};
  samedge_result result = {.struct_size = sizeof result};
  samedge_timing timing = {.struct_size = sizeof timing};
  if (grey == NULL) return failed("memory");
  frame.width = (int32_t)format->width;
  frame.height = (int32_t)format->height;
  frame.format = format->pixelformat == V4L2_PIX_FMT_NV12 ? SAMEDGE_NV12 : SAMEDGE_GREY8;
  if (format->pixelformat != V4L2_PIX_FMT_YUYV) frame.stride = format->bytesperline;
  result.areas = &area;
  result.areas_capacity = 1;
  for (long number = 0; frames == 0 || number < frames; ++number) {
    struct v4l2_buffer buffer;
    if (newest(device, &buffer) == -1) return free(grey), failed("no picture");
    const double seconds = (double)buffer.timestamp.tv_sec + (double)buffer.timestamp.tv_usec * 1e-6;
    frame.pixels = device->memory[buffer.index];
    if (format->pixelformat == V4L2_PIX_FMT_YUYV) {
      take_grey(format, device->memory[buffer.index], grey);
      frame.pixels = grey;
    }
    /* The picture is read during the call only, so that the buffer can be given back at once. */
    const samedge_status status = samedge_track(tracker, &frame, seconds, &result, &verdict, 1);
    if (call(device->file, VIDIOC_QBUF, &buffer) == -1) return free(grey), failed("VIDIOC_QBUF");
    if (status != SAMEDGE_OK) {
      fprintf(stderr, "%s: %s\n", samedge_status_string(status), samedge_last_error());
      continue;
    }
    const char *reason = "";
    samedge_get_timing(session, &timing);
    samedge_tracker_reason(tracker, 0, &reason);
    printf("%ld %s %lld px, %.1f ms %s\n", number, verdicts[verdict],
           verdict == SAMEDGE_GOOD ? (long long)area : 0LL, timing.total, reason);
    fflush(stdout);
  }
  free(grey);
  return 0;
}

int main(int count, char **arguments) {
  struct device device = {.file = -1};
  samedge_model *model = NULL;
  samedge_session *session = NULL;
  samedge_tracker *tracker = NULL;
  samedge_prompts prompts = {.struct_size = sizeof prompts};
  if (count != 5 && count != 6) {
    fprintf(stderr, "usage: live_v4l2 BUNDLE DEVICE X Y [FRAMES]\n");
    return 2;
  }
  const double click[2] = {atof(arguments[3]), atof(arguments[4])};
  prompts.points = click;
  prompts.point_count = 1;
  if (samedge_model_open(arguments[1], NULL, &model) != SAMEDGE_OK ||
      samedge_session_create(model, &session) != SAMEDGE_OK ||
      samedge_tracker_create(session, &prompts, NULL, &tracker) != SAMEDGE_OK) {
    fprintf(stderr, "%s\n", samedge_last_error());
    return 1;
  }
  device.file = open(arguments[2], O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (device.file == -1 || start(&device) == -1) return failed(arguments[2]);
  const int result = follow(&device, session, tracker, count == 6 ? atol(arguments[5]) : 0);
  for (unsigned i = 0; i < device.count; ++i) munmap(device.memory[i], device.length[i]);
  close(device.file);
  samedge_tracker_destroy(tracker);
  samedge_session_destroy(session);
  samedge_model_close(model);
  return result;
}
