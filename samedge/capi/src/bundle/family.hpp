// Everything that differs between model families outside the network: samedge/families.py.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace samedge {

enum class Interpolation { pil, cubic, zoom, bilinear, area };

// See `samedge.families.Family` for what the fields mean.
struct Family {
  std::string name;
  std::string title;
  int input_size = 0;
  int channels = 0;
  double value_scale = 1.0;
  std::vector<double> mean;
  std::vector<double> std;
  bool min_max = false;         // normalisation "min_max", else "fixed"
  bool longest_side = false;    // resize "longest_side", else "stretch"
  Interpolation interpolation = Interpolation::pil;
  int via = 0;
  bool takes_points = false;
  bool takes_boxes = false;
  bool takes_masks = false;
  bool always_pad = false;      // pad_point "always", else "no_box"
  int single_mask = 0;
  std::vector<int> multi_masks;
  std::vector<std::string> classes;
  bool exclusive = false;
  int upscale_size = 0;
  bool probability = false;     // mask_values "probability", else "logit"
  bool nearest = false;         // mask_interpolation "nearest", else "bilinear"
  double threshold = 0.0;
  int stride = 16;
  int slices = 1;
  bool whole_volume = false;
  bool whole_boxes = false;

  // Whether a resized frame has whole grey levels.
  bool rounded() const noexcept {
    return interpolation == Interpolation::pil || interpolation == Interpolation::cubic ||
           interpolation == Interpolation::area;
  }
  bool padded() const noexcept { return longest_side; }
  bool takes_prompts() const noexcept { return takes_points || takes_boxes || takes_masks; }
};

}  // namespace samedge
