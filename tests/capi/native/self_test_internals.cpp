// Limits of the self-test, compared with samedge/tolerances.py in tests/capi/test_self_test.py.
#include "internals.hpp"
#include "runtime/self_test.hpp"

// logits, flipped, near_zero, dice, and the least Dice of a mask of this share.
SAMEDGE_INTERNAL void internal_parity_limit(int precision, double rms, double share, double *limits) {
  const samedge::ParityLimit limit =
      samedge::parity_limit(static_cast<samedge::Precision>(precision)).scaled(rms);
  limits[0] = limit.logits;
  limits[1] = limit.flipped;
  limits[2] = limit.near_zero;
  limits[3] = limit.dice;
  limits[4] = limit.least_dice(share);
}
