// Prompts as a caller gives them -> the decoder's tokens, checked: samedge/runtime/prompt_groups.py.
#pragma once

#include <cstdint>
#include <vector>

#include "bundle/family.hpp"
#include "geometry/frame_geometry.hpp"
#include "samedge.h"

namespace samedge {

constexpr int kMostObjects = 1024;
constexpr int kMostPoints = 4096;
constexpr int kMostPointsPerObject = 1024;
constexpr float kLargestLogit = 1e4F;

// Objects with equally many tokens: padding the shorter ones would change their results.
struct PromptGroup {
  std::vector<std::int32_t> objects;  // [n], their places in the caller's order
  int length = 0;                     // P, tokens of each
  std::vector<float> coords;          // [n, P, 2], network px
  std::vector<std::int32_t> labels;   // [n, P]
  int mask_count = 0;                 // 0, 1 or n
  std::vector<float> masks;           // [mask_count, 1, L, L]
};

// Turns prompts into groups. Keeps its memory from call to call.
class PromptAssembler {
 public:
  // prompts: nullptr for none. The groups live until the next call; at least one.
  // Throws Failure(PROMPT): what came, what was expected, what to do.
  const std::vector<PromptGroup> &assemble(const Family &family, const FrameGeometry &geometry,
                                           const samedge_prompts *prompts);

  // Number of groups of the last call: the vector may be longer, to keep memory.
  std::size_t groups() const noexcept { return used_; }

 private:
  // Fill lengths_ and firsts_: how many points each object has, and where they begin.
  void measure(const samedge_prompts &prompts, int objects, bool points, bool boxes);
  PromptGroup &next_group();
  void add(PromptGroup &group, const samedge_prompts &prompts, int object, bool pad,
           const FrameGeometry &geometry) const;

  std::vector<PromptGroup> groups_;
  std::size_t used_ = 0;
  std::vector<int> lengths_, firsts_, order_;
};

// Objects that prompts are for, checked only as far as that needs: 1 for none.
int object_count(const samedge_prompts *prompts);

}  // namespace samedge
