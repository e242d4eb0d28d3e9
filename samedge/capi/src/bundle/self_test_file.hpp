// A self-test frame: samedge/bundle/selftest.py. An .npz file, read strictly.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace samedge {

struct SelfTestFrame {
  std::string name;
  int slices = 1;    // of the frame: more than 1 for a stack
  int height = 0;
  int width = 0;
  int channels = 1;  // 1 grey, 3 RGB
  std::vector<std::uint8_t> frame;       // [slices, height, width, channels]
  int objects = 0;                       // N: objects, or slices of a stack
  int points_per_object = 0;             // P, may be 0
  std::vector<double> points;            // [N, P, 2]
  std::vector<std::int32_t> labels;      // [N, P]
  std::vector<double> boxes;             // [N, 4] or empty
  int masks_count = 0;                   // K
  int low_res = 0;                       // L
  std::vector<float> low_res_logits;     // [K, L, L]
  std::vector<std::uint8_t> masks;       // [K, height, width], 0 or 1
  std::vector<float> scores;             // [K]
  bool multimask = false;
  bool stack = false;
};

// Throws Failure(BUNDLE): the data is no such file.
SelfTestFrame parse_self_test(const std::string &name, const std::uint8_t *data, std::size_t size);

}  // namespace samedge
