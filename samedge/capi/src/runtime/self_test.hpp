// Does this device compute what the float32 reference computed? samedge/runtime/parity/verify.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "runtime/model.hpp"
#include "samedge.h"

namespace samedge {

// How far a result may be from the float32 reference: samedge.tolerances.Limit.
struct ParityLimit {
  double logits;
  double flipped;
  double near_zero;
  double dice;

  // For a model whose logits have this RMS.
  ParityLimit scaled(double rms) const noexcept;
  // The limit on Dice for a mask that covers this share of the frame, above 0.
  double least_dice(double share) const noexcept;
};

ParityLimit parity_limit(Precision precision) noexcept;

// Segment the bundle's self-test frames in a session of its own, and compare.
// Throws Failure(BUNDLE): there are none, or they do not fit the model; and what a session throws.
samedge_self_test_report self_test(const std::shared_ptr<Model> &model);

// Throws Failure(PARITY): a report that did not pass, in words.
void check_passed(const samedge_self_test_report &report, const Model &model);

}  // namespace samedge
