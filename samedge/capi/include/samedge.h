/* samedge.h: segment ultrasound frames with a samedge bundle, without Python.
 *
 *   #include <samedge.h>
 *
 *   samedge_model *model = NULL;
 *   samedge_session *session = NULL;
 *   if (samedge_model_open("thyroid.samedge", NULL, &model) != SAMEDGE_OK ||
 *       samedge_session_create(model, &session) != SAMEDGE_OK) {
 *     fprintf(stderr, "%s\n", samedge_last_error());
 *     return 1;
 *   }
 *
 *   samedge_frame frame = {.struct_size = sizeof frame};
 *   frame.format = SAMEDGE_GREY8;
 *   frame.pixels = pixels;
 *   frame.width = 640;
 *   frame.height = 480;
 *
 *   const double click[2] = {312.0, 240.0};
 *   samedge_prompts prompts = {.struct_size = sizeof prompts};
 *   prompts.points = click;
 *   prompts.point_count = 1;
 *
 *   samedge_result result = {.struct_size = sizeof result};
 *   result.masks = mask;
 *   result.masks_capacity = 640 * 480;
 *   if (samedge_segment(session, &frame, &prompts, &result) == SAMEDGE_OK) draw(mask);
 *
 *   samedge_session_destroy(session);
 *   samedge_model_close(model);
 *
 * Rules
 *
 *   Status    Every call that can fail returns a samedge_status: SAMEDGE_OK, which is 0, or a
 *             negative number. samedge_last_error() then says what came, what was expected and
 *             what to do. Nothing here exits, aborts, throws or prints.
 *   Threads   A model serves any number of threads. A session (and the trackers made from it)
 *             serves one call at a time: a second thread gets SAMEDGE_ERROR_BUSY and harms
 *             nothing. For several threads make a session for each.
 *   Memory    All buffers are yours. What you pass in is read during the call and never kept; what
 *             you pass to be filled is written during the call and never kept. Strings that samedge
 *             returns are its own; each function says how long they live.
 *   Handles   Are numbers in the clothes of pointers. NULL, freed and foreign ones are recognised:
 *             SAMEDGE_ERROR_HANDLE.
 *   Masks     Come only from a call that returned SAMEDGE_OK. After any other status no buffer of
 *             a result was written, and there is no answer to ask about. (Of several slices those before
 *             the one that failed may have been written: use none.)
 *   Structs   Begin with struct_size: set it to sizeof. All zeros otherwise are the defaults,
 *             so that `samedge_frame frame = {.struct_size = sizeof frame};` is ready to be filled (in
 *             C++17: `samedge_frame frame{}; frame.struct_size = sizeof frame;`). Fields are
 *             only ever added at the end. A program that was built with an older header may use a newer
 *             library of the same major version; the other way round works as long as the fields
 *             that the library does not know are zero.
 *
 * Research use only. Not a medical device. Apache-2.0.
 */
#ifndef SAMEDGE_H
#define SAMEDGE_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define SAMEDGE_API __declspec(dllimport)
#elif defined(__GNUC__)
#define SAMEDGE_API __attribute__((visibility("default")))
#else
#define SAMEDGE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------- Versions --- */

#define SAMEDGE_ABI_MAJOR 1 /* another one is another interface, and another soname */
#define SAMEDGE_ABI_MINOR 0 /* counts what was added since */

/* What a call came to. Numbers are never reused. */
typedef int32_t samedge_status;
enum {
  SAMEDGE_OK = 0,
  SAMEDGE_ERROR_ARGUMENT = -1,      /* a null pointer, a wrong struct_size, an unknown constant */
  SAMEDGE_ERROR_HANDLE = -2,        /* a handle that is null, freed, or none of samedge's */
  SAMEDGE_ERROR_BUSY = -3,          /* another thread is using the session */
  SAMEDGE_ERROR_STATE = -4,         /* out of order: no frame to prompt, no answer to read */
  SAMEDGE_ERROR_BUNDLE = -5,        /* the bundle is missing, damaged, changed, or of another kind */
  SAMEDGE_ERROR_FRAME = -6,         /* the frame has a size, format or layout that is not taken */
  SAMEDGE_ERROR_PROMPT = -7,        /* a point, box, label or mask does not fit frame or model */
  SAMEDGE_ERROR_BUFFER = -8,        /* a buffer is too small; the result says what is needed */
  SAMEDGE_ERROR_NOT_SUPPORTED = -9, /* not in this library or on this machine, with the remedy */
  SAMEDGE_ERROR_DEVICE = -10,       /* the device or its driver failed */
  SAMEDGE_ERROR_NON_FINITE = -11,   /* the network gave NaN or infinity: there is no mask */
  SAMEDGE_ERROR_MEMORY = -12,       /* out of memory */
  SAMEDGE_ERROR_PARITY = -13,       /* the self-test failed: do not use this bundle here */
  SAMEDGE_ERROR_ABI = -14,          /* header and library do not fit */
  SAMEDGE_ERROR_INTERNAL = -15      /* a fault of samedge: please report it */
};

/* "SAMEDGE_ERROR_FRAME" and so on; "unknown status" for other numbers. Lives for ever. */
SAMEDGE_API const char *samedge_status_string(samedge_status status);

/* What the last call in this thread that failed had to say, in UTF-8; "" if none did. Lives until
 * the next call of samedge in this thread. */
SAMEDGE_API const char *samedge_last_error(void);

/* The release, "0.1.0". Lives for ever. */
SAMEDGE_API const char *samedge_version(void);

/* The library's ABI: major << 16 | minor. */
SAMEDGE_API uint32_t samedge_abi_version(void);

/* Whether a program that was built for this ABI can use the library: the same major version, and a
 * minor one that the library has. SAMEDGE_ERROR_ABI says which they are. Usage:
 * samedge_abi_check(SAMEDGE_ABI_MAJOR, SAMEDGE_ABI_MINOR). */
SAMEDGE_API samedge_status samedge_abi_check(uint32_t major, uint32_t minor);

/* A number over names, offsets and sizes of all fields of all structs, and all constants, as they
 * were in ABI minor version `minor`; 0 for versions to come. A binding that was written for one
 * version keeps its number, and refuses a library that gives another one. */
SAMEDGE_API uint64_t samedge_abi_hash(uint32_t minor);

/* The text behind samedge_abi_hash, a line for each field and constant: "struct field offset size
 * since". Lives for ever. */
SAMEDGE_API const char *samedge_abi_layout(void);

/* ------------------------------------------------------------------------------------ Log --- */

enum { SAMEDGE_LOG_DEBUG = 0, SAMEDGE_LOG_INFO = 1, SAMEDGE_LOG_WARNING = 2, SAMEDGE_LOG_ERROR = 3 };

/* Called with what happens inside: which engine was taken and why, what was slow. One line without a
 * line end, valid during the call; nothing of a frame. May come from any thread that calls samedge,
 * from two at once as well; must not call samedge. */
typedef void (*samedge_log_callback)(int32_t level, const char *message, void *user);

/* Send the log to a function; NULL (the default) drops it. Set it before other calls: a message that
 * is under way may still go to the one before. */
SAMEDGE_API samedge_status samedge_set_log_callback(samedge_log_callback callback, void *user);

/* ---------------------------------------------------------------------------------- Model --- */

/* A bundle that was read and compiled. Sessions share its weights. */
typedef struct samedge_model samedge_model;

enum {
  SAMEDGE_BACKEND_AUTO = 0,     /* the first of the others that works here */
  SAMEDGE_BACKEND_TENSORRT = 1, /* NVIDIA GPUs, with engines of `samedge build` */
  SAMEDGE_BACKEND_TRITON = 2,   /* NVIDIA GPUs, with engines of samedge's own: the driver alone */
  SAMEDGE_BACKEND_OPENVINO = 3  /* the CPU */
};

/* Whether a backend is in this library and works on this machine; AUTO: whether any does. Fails with
 * NOT_SUPPORTED: the message has the reason and the remedy. */
SAMEDGE_API samedge_status samedge_backend_check(int32_t backend);

enum {
  SAMEDGE_PRECISION_AUTO = 0, /* the fastest that is native here and passed the parity gate */
  SAMEDGE_FP32 = 1,
  SAMEDGE_BF16 = 2,
  SAMEDGE_FP16 = 3,
  SAMEDGE_INT8 = 4
};

enum {
  SAMEDGE_HINT_LATENCY = 0,   /* one frame as soon as possible: it has all threads */
  SAMEDGE_HINT_THROUGHPUT = 1 /* several sessions side by side, each of them later than alone */
};

typedef struct samedge_model_options {
  uint32_t struct_size;
  int32_t backend;     /* SAMEDGE_BACKEND_... */
  int32_t precision;   /* SAMEDGE_FP32 and so on */
  int32_t threads;     /* CPU threads for inference; 0: the physical cores of this process */
  int32_t device;      /* number of the device, for machines with several */
  int32_t hint;        /* SAMEDGE_HINT_... */
  const char *engines; /* folder of engines of `samedge build -o`, UTF-8; NULL: those in the bundle
                        * and in the user's cache. Those alone are taken then. Engines are code. */
} samedge_model_options;

/* Set a struct to its defaults: all zeros but struct_size. `struct_size` is sizeof *options. */
SAMEDGE_API samedge_status samedge_model_options_default(samedge_model_options *options,
                                                         size_t struct_size);

/* Open a bundle: a folder or a zip file. Every file is checked against its SHA-256 before it is
 * used, and none is needed any more afterwards. Takes from half a second to some seconds.
 *
 * path: UTF-8. options: NULL for the defaults. model: set to the handle, or to NULL on failure.
 * Fails with BUNDLE, NOT_SUPPORTED, DEVICE, MEMORY, ARGUMENT. */
SAMEDGE_API samedge_status samedge_model_open(const char *path, const samedge_model_options *options,
                                              samedge_model **model);

/* Let a model go; NULL is harmless. Its sessions go on: its memory is freed with the last one. */
SAMEDGE_API samedge_status samedge_model_close(samedge_model *model);

enum { SAMEDGE_TAKES_POINTS = 1, SAMEDGE_TAKES_BOXES = 2, SAMEDGE_TAKES_MASKS = 4 };

typedef struct samedge_model_info {
  uint32_t struct_size;
  int32_t backend;        /* SAMEDGE_BACKEND_..., the one that was taken */
  int32_t precision;      /* SAMEDGE_FP32 ..., the one that was taken */
  int32_t threads;
  int32_t input_size;     /* side of the network input, px */
  int32_t low_res;        /* side L of the low-res logits */
  int32_t embedding_size; /* floats of an image embedding, of one slice */
  int32_t slices;         /* slices of a volume that are encoded together; 1: images */
  int32_t whole_volume;   /* 1: a volume must have exactly `slices` slices */
  int32_t takes;          /* bits SAMEDGE_TAKES_...; 0: the model finds its objects by itself */
  int32_t takes_grey16;   /* 1: frames may be SAMEDGE_GREY16 */
  int32_t single_masks;   /* masks per object of an answer */
  int32_t multi_masks;    /* masks per object with `multimask`; 0: there is no such answer */
  int32_t classes;        /* structures that an answer has a mask of, see samedge_class_name; or 0 */
  int32_t exclusive;      /* 1: every pixel belongs to one class, and there is a class map */
  /* UTF-8; live as long as the model handle. */
  const char *family;     /* "samus" */
  const char *title;      /* for people */
  const char *device;     /* where it runs, for people */
  const char *why;        /* why this backend and precision */
  const char *notes;      /* what a user should know, a line each; "" for nothing */
} samedge_model_info;

SAMEDGE_API samedge_status samedge_model_get_info(samedge_model *model, samedge_model_info *info);

/* Name of a class, 0 to classes - 1, in *name; lives as long as the model handle. */
SAMEDGE_API samedge_status samedge_class_name(samedge_model *model, int32_t index, const char **name);

typedef struct samedge_self_test_report {
  uint32_t struct_size;
  int32_t frames;         /* that were compared */
  double max_logit_error; /* largest difference from the float32 reference's logits */
  double logit_limit;     /* what it may be in this precision */
  double dice;            /* smallest overlap of masks with the reference's, 0 to 1 */
  double dice_limit;      /* what it has to be */
  double score_error;     /* largest difference of a predicted IoU */
  double margin;          /* smallest of limit / value; 1 and more is a pass */
  double flipped;         /* largest share of px of masks that differ from the reference's */
  double flipped_limit;   /* what it may be */
  int64_t flipped_far;    /* px that differ although the reference is not near the threshold: 0 */
} samedge_self_test_report;

/* Segment the bundle's own frames and compare with the float32 reference that it brings: the parity
 * gate of `samedge verify`, on this machine and engine. Takes as long as its few frames.
 * Fails with PARITY if one is farther away than the precision allows; the report is filled in then,
 * too. report: may be NULL. */
SAMEDGE_API samedge_status samedge_self_test(samedge_model *model, samedge_self_test_report *report);

/* -------------------------------------------------------------------------------- Session --- */

/* Scratch memory for one frame at a time. */
typedef struct samedge_session samedge_session;

SAMEDGE_API samedge_status samedge_session_create(samedge_model *model, samedge_session **session);

/* Free a session; NULL is harmless. BUSY while another thread uses it: it is not freed then. */
SAMEDGE_API samedge_status samedge_session_destroy(samedge_session *session);

enum {
  SAMEDGE_GREY8 = 1,
  SAMEDGE_GREY16 = 2, /* of the machine's byte order; 65535 is the 255 of SAMEDGE_GREY8 */
  SAMEDGE_RGB8 = 3,
  SAMEDGE_BGR8 = 4,  /* OpenCV's order */
  SAMEDGE_RGBA8 = 5, /* alpha is ignored */
  SAMEDGE_BGRA8 = 6, /* Qt's and DirectX's order */
  SAMEDGE_NV12 = 7   /* video: Y, then interleaved UV of half the size; BT.601, 16 to 235 */
};

enum {
  SAMEDGE_HOST = 0, /* the CPU's memory */
  SAMEDGE_CUDA = 1  /* a CUDA device pointer: GREY8, GREY16 and RGB8, with a backend on that GPU */
};

typedef struct samedge_frame {
  uint32_t struct_size;
  int32_t format;       /* SAMEDGE_GREY8 and so on */
  int32_t width;        /* px, 16 to 4096 */
  int32_t height;       /* px, 16 to 4096 */
  const void *pixels;   /* the top left one; rows go down */
  int64_t stride;       /* bytes from one row to the next; 0: no gaps */
  const void *chroma;   /* NV12's second plane; NULL: it follows the last row of the first one */
  int64_t chroma_stride; /* bytes; 0: as `stride` */
  int32_t memory;       /* SAMEDGE_HOST or SAMEDGE_CUDA */
  int32_t slices;       /* of a volume, one behind the other; 0 and 1: an image */
  int64_t slice_stride; /* bytes from one slice to the next; 0: no gaps */
  int32_t crop[4];      /* x0, y0, x1, y1: what the network sees, in px, x1 and y1 exclusive;
                         * all 0: the whole frame */
} samedge_frame;

typedef struct samedge_prompts {
  uint32_t struct_size;
  int32_t objects;        /* N; 0: one object */
  const double *points;   /* [point_count][2]: x, y in px of the frame; NULL: none */
  const int32_t *labels;  /* [point_count]: 1 inside the object, 0 outside; NULL: all 1 */
  int32_t point_count;    /* of all objects together */
  int32_t mask_count;     /* 0; 1, for all objects; or N */
  const int32_t *points_per_object; /* [N], sum is point_count; NULL: equally many */
  const double *boxes;    /* [N][4]: x0, y0, x1, y1 in px of the frame; NULL: none */
  const float *masks;     /* [mask_count][L][L]: low-res logits of an earlier answer; NULL: none */
  int32_t multimask;      /* 1: several masks per object, where the model has them */
} samedge_prompts;

/* An answer has K masks: objects x masks per object, all of the first object first.
 *
 * Buffers: NULL for what is not wanted. Capacities are numbers of elements. */
typedef struct samedge_result {
  uint32_t struct_size;
  /* What comes out. */
  int32_t count;            /* K */
  int32_t width;            /* of a mask: the frame's */
  int32_t height;
  int32_t low_res;          /* L */
  int32_t has_class_map;    /* 1: every pixel belongs to one class */
  /* Where it goes. */
  int32_t mask_value;       /* of px inside a mask, 1 to 255; 0 stands for 1 */
  uint8_t *masks;           /* [K][height][width], 0 or mask_value */
  size_t masks_capacity;
  int64_t mask_stride;      /* bytes from one row of a mask to the next; 0: no gaps */
  uint8_t *class_map;       /* [height][width], the class of every pixel; 0 is the background */
  size_t class_map_capacity;
  float *scores;            /* [K], predicted IoU */
  size_t scores_capacity;
  int32_t *object_index;    /* [K], which object a mask is of */
  size_t object_index_capacity;
  int32_t *class_index;     /* [K], which class it shows; 0 for models without classes */
  size_t class_index_capacity;
  int32_t *boxes;           /* [K][4]: x0, y0, x1, y1 around the mask, x1 and y1 exclusive; all 0 if
                             * it is empty */
  size_t boxes_capacity;    /* 4 K */
  int64_t *areas;           /* [K], px */
  size_t areas_capacity;
  float *low_res_logits;    /* [K][L][L] */
  size_t low_res_capacity;
} samedge_result;

/* Encode a frame, to prompt it as often as you like with samedge_predict.
 * Fails with FRAME, NOT_SUPPORTED, DEVICE, NON_FINITE, MEMORY; there is no frame then. */
SAMEDGE_API samedge_status samedge_set_frame(samedge_session *session, const samedge_frame *frame);

/* Decode prompts on the frame of samedge_set_frame or samedge_segment. prompts: NULL for models that
 * take none. Fails with PROMPT, STATE (no frame), BUFFER (nothing was computed; `count`, `width`,
 * `height` and `low_res` say what is needed), DEVICE, NON_FINITE, MEMORY. */
SAMEDGE_API samedge_status samedge_predict(samedge_session *session, const samedge_prompts *prompts,
                                           samedge_result *result);

/* Both in one call. */
SAMEDGE_API samedge_status samedge_segment(samedge_session *session, const samedge_frame *frame,
                                           const samedge_prompts *prompts, samedge_result *result);

/* Segment the slices of a volume: frame->slices of them, as many as the model takes together at a
 * time. prompts and results: one pointer for each slice; prompts NULL for models that take none.
 * Fails as samedge_segment; no result is to be used then. */
SAMEDGE_API samedge_status samedge_segment_slices(samedge_session *session, const samedge_frame *frame,
                                                  const samedge_prompts *const *prompts,
                                                  samedge_result *const *results);

/* A copy of the current frame's image embedding. capacity: in floats, at least embedding_size times
 * slices. */
SAMEDGE_API samedge_status samedge_get_embedding(samedge_session *session, float *embedding,
                                                 size_t capacity);

/* Outlines of masks: polygons through the outermost px, as OpenCV's findContours gives them (RETR_CCOMP,
 * CHAIN_APPROX_NONE): outer ones counter-clockwise on the screen, holes, along the mask's px around them,
 * clockwise. In the order of their first points, row by row: of an outer one its topmost px, of these the
 * leftmost; of a hole the px left of the hole's topmost, leftmost px. */
typedef struct samedge_contours {
  uint32_t struct_size;
  int32_t contour_count;   /* out */
  int32_t *points;         /* [point_count][2]: x, y in px */
  size_t points_capacity;  /* 2 point_count */
  int32_t *starts;         /* [contour_count]: number of each one's first point */
  size_t starts_capacity;
  uint8_t *holes;          /* [contour_count]: 1 for the outline of a hole */
  size_t holes_capacity;
  int32_t point_count;     /* out, of all contours together */
} samedge_contours;

/* Outlines of mask `index` of the last answer. BUFFER with point_count and contour_count filled in if
 * a buffer is too small; the answer stays, so ask again. STATE if the last call gave no answer. */
SAMEDGE_API samedge_status samedge_get_contours(samedge_session *session, int32_t index,
                                                samedge_contours *contours);

/* Milliseconds of the last answer; stages that it did not need are 0. */
typedef struct samedge_timing {
  uint32_t struct_size;
  int32_t reserved;
  double copy_in;    /* your frame -> the engine's memory, with the change of format */
  double preprocess; /* frame -> network input */
  double encode;     /* network input -> image embedding */
  double prompt;     /* prompts -> tokens */
  double decode;     /* embedding and tokens -> masks */
  double copy_out;   /* the engine's memory -> your buffers */
  double total;      /* from the call to its return */
} samedge_timing;

SAMEDGE_API samedge_status samedge_get_timing(samedge_session *session, samedge_timing *timing);

/* What was decided on your behalf and may be wrong for the current frame, a line each; "" for
 * nothing. Lives until the next call with this session. */
SAMEDGE_API samedge_status samedge_get_notes(samedge_session *session, const char **notes);

/* ------------------------------------------------------------------------------- Tracking --- */

/* Objects that are followed from frame to frame: each is asked again at the innermost px of its last
 * good mask. Nothing of a doubtful mask is fed back. */
typedef struct samedge_tracker samedge_tracker;

/* What a mask has to be like to be fed back; 0 stands for the default. "Usual" is the mean over the
 * good masks of the last `steady_s` or so. */
typedef struct samedge_tracker_options {
  uint32_t struct_size;
  int32_t min_area;    /* px; 20 */
  double score;        /* smallest predicted IoU; 0.5 */
  double score_drop;   /* largest share by which it may be below the usual one; 0.2 */
  double score_spread; /* largest number of usual deviations below the usual one; 4 */
  double area_jump;    /* largest factor between the area and the usual one; 2.4 */
  double overlap;      /* smallest IoU with the last good mask; 0.5 */
  double steady;       /* smallest IoU of two good masks that follow a doubtful one; 0.7 */
  double found_s;      /* so long a lost object is seen at one place to be found again; 0.4 */
  double border;       /* largest share of the outline that lies on the border; 0.35 */
  double hold_s;       /* after so long without a good mask it is lost; 0.12 */
  double fresh_s;      /* so old may the last good mask be for `overlap`; 0.5 */
  double steady_s;     /* so long good masks count for what is usual; 1 */
} samedge_tracker_options;

SAMEDGE_API samedge_status samedge_tracker_options_default(samedge_tracker_options *options,
                                                           size_t struct_size);

enum { SAMEDGE_GOOD = 0, SAMEDGE_DOUBTFUL = 1, SAMEDGE_LOST = 2 };

/* Follow the objects of `prompts`: each has a positive point or a box. options: NULL for the defaults.
 * The tracker keeps its session alive, and counts as a use of it. */
SAMEDGE_API samedge_status samedge_tracker_create(samedge_session *session,
                                                  const samedge_prompts *prompts,
                                                  const samedge_tracker_options *options,
                                                  samedge_tracker **tracker);

/* Free a tracker; NULL is harmless. */
SAMEDGE_API samedge_status samedge_tracker_destroy(samedge_tracker *tracker);

/* Segment the next frame. time_s: when it was taken, in seconds of any clock, later than the one
 * before. result: one mask per object. verdicts: [objects], SAMEDGE_GOOD and so on; a mask that is not
 * good is not to be shown as the object. Fails as samedge_segment; the objects stay where they were
 * then. */
SAMEDGE_API samedge_status samedge_track(samedge_tracker *tracker, const samedge_frame *frame,
                                         double time_s, samedge_result *result, int32_t *verdicts,
                                         size_t verdicts_capacity);

/* Another scene has come (another probe, another patient, the depth was changed): where the objects were
 * says nothing any more of where they are. They are lost, and looked for there nevertheless. */
SAMEDGE_API samedge_status samedge_tracker_lose(samedge_tracker *tracker);

/* Why the last mask of an object is not good, in words; "" if it is. Lives until the next call with
 * this tracker. */
SAMEDGE_API samedge_status samedge_tracker_reason(samedge_tracker *tracker, int32_t object,
                                                  const char **reason);

/* Where an object will be asked for next, in px: x, y. */
SAMEDGE_API samedge_status samedge_tracker_point(samedge_tracker *tracker, int32_t object, double *x,
                                                 double *y);

#ifdef __cplusplus
}
#endif

#endif /* SAMEDGE_H */
