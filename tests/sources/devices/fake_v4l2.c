/* A Video4Linux device that is a FIFO: the kernel's side of the ioctls that FFmpeg makes, in the
 * process itself (LD_PRELOAD). Each byte in the FIFO is an event of the device:
 *   'F' a frame;  'E' a frame that the driver marks as damaged;  'X' it is unplugged;
 *   'S' it streams no more, which ends a wait for a frame.
 * The path of the FIFO is in FAKE_V4L2; FAKE_V4L2_BUSY: somebody else streams; FAKE_V4L2_JPEG: a file
 * with the picture that it sends as MJPEG. It knows 320 x 240 and 640 x 480 px, YUYV (in the middle
 * grey of which the number of the frame is added) and MJPEG, at any rate. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFERS 4
#define LENGTH (640 * 480 * 2)

static struct v4l2_pix_format form = {.width = 640, .height = 480, .pixelformat = V4L2_PIX_FMT_YUYV};
static unsigned char *memory[BUFFERS];
static int queued[BUFFERS * 2], first, count;
static unsigned sequence;
static int streaming;
static struct v4l2_fract step = {1, 30};

static int is_ours(int fd) {
  struct stat one, other;
  const char *path = getenv("FAKE_V4L2");
  return path && !fstat(fd, &one) && !stat(path, &other) && one.st_ino == other.st_ino &&
         one.st_dev == other.st_dev;
}

static int fail(int number) {
  errno = number;
  return -1;
}

static void settle(void) {
  int small = form.width <= 400;
  form.width = small ? 320 : 640;
  form.height = small ? 240 : 480;
  if (form.pixelformat != V4L2_PIX_FMT_MJPEG) form.pixelformat = V4L2_PIX_FMT_YUYV;
  form.field = V4L2_FIELD_NONE;
  form.bytesperline = form.pixelformat == V4L2_PIX_FMT_YUYV ? form.width * 2 : 0;
  form.sizeimage = form.width * form.height * 2;
}

static unsigned picture(unsigned char *to) {
  const char *path = getenv("FAKE_V4L2_JPEG");
  if (form.pixelformat == V4L2_PIX_FMT_MJPEG) {
    FILE *file = path ? fopen(path, "rb") : NULL;
    unsigned size = file ? fread(to, 1, LENGTH, file) : 0;
    if (file) fclose(file);
    return size;
  }
  for (unsigned i = 0; i < form.sizeimage; i += 2) to[i] = 100 + sequence, to[i + 1] = 128;
  return form.sizeimage;
}

static int dequeue(int fd, struct v4l2_buffer *buffer) {
  char event;
  if (read(fd, &event, 1) != 1) return -1; /* waits, as a driver does */
  if (event == 'X') return fail(ENODEV);
  if (event == 'S') return fail(EINVAL);
  if (!count) return fail(EIO);
  buffer->index = queued[first];
  first = (first + 1) % (BUFFERS * 2), count--;
  buffer->bytesused = picture(memory[buffer->index]);
  buffer->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC | (event == 'E' ? V4L2_BUF_FLAG_ERROR : 0);
  buffer->timestamp.tv_sec = 1000 + sequence / 10;
  buffer->timestamp.tv_usec = sequence % 10 * 100000;
  buffer->sequence = sequence++;
  return 0;
}

static int answer(int fd, unsigned long request, void *with) {
  switch (request) {
  case VIDIOC_QUERYCAP: {
    struct v4l2_capability *cap = with;
    memset(cap, 0, sizeof *cap);
    strcpy((char *)cap->card, "Fake");
    cap->capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
    return 0;
  }
  case VIDIOC_G_INPUT: *(int *)with = 0; return 0;
  case VIDIOC_S_INPUT: return 0;
  case VIDIOC_ENUMINPUT: {
    struct v4l2_input *input = with;
    if (input->index) return fail(EINVAL);
    input->type = V4L2_INPUT_TYPE_CAMERA, input->std = 0, input->status = 0;
    return 0;
  }
  case VIDIOC_G_FMT: settle(); ((struct v4l2_format *)with)->fmt.pix = form; return 0;
  case VIDIOC_S_FMT:
    if (getenv("FAKE_V4L2_BUSY")) return fail(EBUSY);
    form = ((struct v4l2_format *)with)->fmt.pix;
    settle();
    ((struct v4l2_format *)with)->fmt.pix = form;
    return 0;
  case VIDIOC_G_PARM:
  case VIDIOC_S_PARM: {
    struct v4l2_streamparm *parm = with;
    if (request == VIDIOC_S_PARM) step = parm->parm.capture.timeperframe;
    parm->parm.capture.capability = V4L2_CAP_TIMEPERFRAME;
    parm->parm.capture.timeperframe = step;
    return 0;
  }
  case VIDIOC_REQBUFS: ((struct v4l2_requestbuffers *)with)->count = BUFFERS; return 0;
  case VIDIOC_QUERYBUF: {
    struct v4l2_buffer *buffer = with;
    buffer->length = LENGTH, buffer->m.offset = buffer->index * LENGTH;
    return 0;
  }
  case VIDIOC_QBUF:
    queued[(first + count++) % (BUFFERS * 2)] = ((struct v4l2_buffer *)with)->index;
    return 0;
  case VIDIOC_DQBUF: return dequeue(fd, with);
  case VIDIOC_STREAMON:
    if (streaming) return fail(EBUSY); /* another handle streams */
    streaming = 1;
    for (char event; poll(&(struct pollfd){fd, POLLIN, 0}, 1, 0) > 0;) /* of the stream before */
      if (read(fd, &event, 1) != 1) break;
    return 0;
  case VIDIOC_STREAMOFF:
    if (streaming && write(fd, "S", 1) != 1) return -1;
    streaming = first = count = 0;
    return 0;
  }
  return fail(ENOTTY);
}

int ioctl(int fd, unsigned long request, ...) {
  va_list list;
  va_start(list, request);
  void *with = va_arg(list, void *);
  va_end(list);
  if (is_ours(fd)) return answer(fd, request & 0xffffffff, with);
  int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
  return real(fd, request, with);
}

void *mmap64(void *at, size_t length, int rights, int flags, int fd, off64_t offset) {
  void *(*real)(void *, size_t, int, int, int, off64_t) = dlsym(RTLD_NEXT, "mmap64");
  if (fd < 0 || !is_ours(fd)) return real(at, length, rights, flags, fd, offset);
  void *made = real(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memory[offset / LENGTH] = made;
  return made;
}
