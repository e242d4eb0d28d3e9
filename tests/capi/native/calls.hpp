// What several native tests need: a frame, prompts and room for an answer.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "check.hpp"
#include "samedge.h"

// Print what a call that must succeed had to say.
#define CHECK_OK(call)                                                                    \
  do {                                                                                    \
    const samedge_status status_of_call = (call);                                         \
    if (status_of_call != SAMEDGE_OK) {                                                   \
      std::fprintf(stderr, "%s:%d: %s: %s: %s\n", __FILE__, __LINE__, #call,              \
                   samedge_status_string(status_of_call), samedge_last_error());          \
      std::exit(1);                                                                       \
    }                                                                                     \
  } while (false)

struct Picture {
  std::vector<std::uint8_t> pixels;
  samedge_frame frame{};

  Picture(int width, int height, unsigned seed) : pixels(static_cast<std::size_t>(width) * static_cast<std::size_t>(height)) {
    for (std::size_t i = 0; i < pixels.size(); ++i) {
      seed = seed * 1664525U + 1013904223U;
      pixels[i] = static_cast<std::uint8_t>((seed >> 24U) / 2 + (i % 97));
    }
    frame.struct_size = sizeof frame;
    frame.format = SAMEDGE_GREY8;
    frame.width = width;
    frame.height = height;
    frame.pixels = pixels.data();
  }
};

struct Click {
  double at[2];
  samedge_prompts prompts{};

  Click(double x, double y) : at{x, y} {
    prompts.struct_size = sizeof prompts;
    prompts.points = at;
    prompts.point_count = 1;
  }
  Click(const Click &) = delete;
  Click &operator=(const Click &) = delete;
};

struct Answered {
  std::vector<std::uint8_t> mask;
  float score = 0.0F;
  std::int64_t area = 0;
  std::int32_t box[4] = {0, 0, 0, 0};
  samedge_result result{};

  Answered(int width, int height) : mask(static_cast<std::size_t>(width) * static_cast<std::size_t>(height), 7) {
    result.struct_size = sizeof result;
    result.masks = mask.data();
    result.masks_capacity = mask.size();
    result.scores = &score;
    result.scores_capacity = 1;
    result.areas = &area;
    result.areas_capacity = 1;
    result.boxes = box;
    result.boxes_capacity = 4;
  }
  Answered(const Answered &) = delete;
  Answered &operator=(const Answered &) = delete;
};
