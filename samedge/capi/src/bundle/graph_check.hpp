// A bundle's graph against what samedge's exporters write, before an engine sees it: samedge/bundle/graphs/.
//
// Engines are not told of a graph that is anything else: other operators, types or shapes that do not go
// together, weights that are not where they should be, names that are no text.
#pragma once

#include "bundle/bundle.hpp"

namespace samedge {

// Throws Failure(BUNDLE): says what is wrong with it.
void check_graph(const GraphFiles &files, const GraphEntry &entry);

}  // namespace samedge
