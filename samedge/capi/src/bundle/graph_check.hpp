// A bundle's graph against what samedge's exporters write, before an engine sees it: samedge/bundle/graphs/
// wire.py, model.py and the first half of check.py. Here no shapes are worked out from node to node: the
// engines' own readers do that.
#pragma once

#include "bundle/bundle.hpp"

namespace samedge {

// Throws Failure(BUNDLE): a part that samedge never writes, a weight that is not where it may be, or inputs
// and outputs that are not the manifest's.
void check_graph(const GraphFiles &files, const GraphEntry &entry);

}  // namespace samedge
